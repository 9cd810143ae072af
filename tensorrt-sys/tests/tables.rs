//! Holds every entry of every table against `vtables.tsv`, the order of virtual methods as a C++
//! compiler lays it out for the official headers (Itanium ABI; the two destructors count). The
//! doubles in `double/`, compiled from headers themselves, hold the tables against a compiler for the versions that are at hand.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

use std::collections::HashMap;
use tensorrt_sys::{Generation, Row, Version, methods};

/// The second has the same columns.
const VTABLES: [&str; 2] = [include_str!("../vtables.tsv"), include_str!("../vlayer.tsv")];

/// The columns of `vtables.tsv` that some table covers, and the version each is of.
const COLUMNS: [(&str, i32); 7] = [
    ("8.5.3", 8503),
    ("8.6.1", 8601),
    ("10.0.1", 100_001),
    ("10.16", 101_600),
    ("11.1", 110_100),
    ("11.4", 110_400),
    ("rtx1.7", 10_701),
];

/// `vtables.tsv` by interface and declaration: the index in each column.
fn vtables() -> HashMap<(&'static str, String), HashMap<&'static str, u16>> {
    let header: Vec<_> = VTABLES[0].lines().next().unwrap().split('\t').collect();
    let lines = VTABLES.iter().flat_map(|table| table.lines().skip(1));
    lines
        .map(|line| {
            let cells: Vec<_> = line.split('\t').collect();
            let columns = header.len() - 1;
            let indexes = (1..columns).filter(|&i| !cells[i].is_empty());
            let declaration = match cells[columns].starts_with('~') {
                true => format!("{}::{}", cells[0], cells[columns]),
                false => cells[columns].to_owned(),
            };
            ((cells[0], declaration), indexes.map(|i| (header[i], cells[i].parse().unwrap())).collect())
        })
        .collect()
}

/// The interface in whose virtual table a method stands.
fn interface(row: &Row) -> &'static str {
    let head = row.declaration.split('(').next().unwrap().trim_end();
    let name = head.rsplit([' ', '*', '&']).next().unwrap();
    match name.split("::").next().unwrap() {
        // A base class; of those that inherit it, this crate implements one.
        "IVersionedInterface" => "ILogger",
        interface => interface,
    }
}

#[test]
fn every_index_is_the_compilers() {
    let vtables = vtables();
    let mut entries = 0;
    for row in methods() {
        let indexes = vtables
            .get(&(interface(row), row.declaration.to_owned()))
            .unwrap_or_else(|| panic!("vtables.tsv has no {}", row.declaration));
        for (column, reported) in COLUMNS {
            let version = Version::decode(reported).unwrap();
            assert_eq!(
                row.slot(version).map(|slot| slot.index),
                indexes.get(column).copied(),
                "{} in {column}",
                row.declaration
            );
            entries += 1;
        }
    }
    assert_eq!(entries, methods().count() * COLUMNS.len());
    assert!(entries > 1000, "only {entries} entries were compared");
}

#[test]
fn every_column_is_covered() {
    let header = VTABLES[0].lines().next().unwrap();
    assert_eq!(VTABLES[1].lines().next().unwrap(), header);
    for column in header.split('\t') {
        let covered = COLUMNS.iter().any(|&(name, _)| name == column);
        // RTX 1.3 has an order of its own, which this crate leaves out.
        assert!(
            covered || ["interface", "method", "rtx1.3"].contains(&column),
            "nothing is held against the column {column}"
        );
    }
}

/// Two methods of one interface and version are never at one index.
#[test]
fn no_index_is_taken_twice() {
    for generation in Generation::ALL {
        let mut taken = HashMap::new();
        for row in methods() {
            let Some(slot) = row.slots[generation as usize] else {
                continue;
            };
            if let Some(other) = taken.insert((interface(row), slot.index), row.declaration) {
                panic!("{generation}: {other} and {}", row.declaration);
            }
        }
    }
}

/// NVIDIA appends: among a generation's methods a later release means a higher index.
#[test]
fn later_methods_come_later() {
    for generation in Generation::ALL {
        for (row, later) in methods().flat_map(|row| methods().map(move |later| (row, later))) {
            let slots = |row: &Row| row.slots[generation as usize];
            let (Some(slot), Some(later_slot)) = (slots(row), slots(later)) else {
                continue;
            };
            if interface(row) == interface(later) && slot.since < later_slot.since {
                assert!(slot.index < later_slot.index, "{}", later.declaration);
            }
        }
    }
}
