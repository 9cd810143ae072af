//! How much memory the process may still have: what is asked for beyond it would end the application.

use crate::error::{Code, Error, Result};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

/// What is left to others, and to what no estimate counts.
const SLACK: u64 = 32 << 20;

/// What a thread needs for a beginning; more than the reserve gives.
const LEAST: usize = 2 << 20;

/// Below this nobody asks: looking costs some 50 µs, and so much is nearly always there.
const UNASKED: u64 = 8 << 20;

/// An error if that many bytes of host memory, and a little more, are not to be had now.
pub fn require(what: &str, bytes: u64) -> Result<()> {
    if bytes < UNASKED {
        return Ok(());
    }
    let (free, limit) = available(Path::new("/"));
    match bytes.saturating_add(SLACK) > free {
        false => Ok(()),
        true => Err(Error::new(
            Code::OutOfMemory,
            format!("{what} would take {} MiB of memory, of which {} MiB are left {limit}", bytes >> 20, free >> 20),
        )),
    }
}

/// An error if the process has no memory left at all. Looked at when a thread comes for the first time: what the C library
/// then allocates for it, it ends the process without.
pub fn require_least() -> Result<()> {
    thread_local!(static SEEN: Cell<bool> = const { Cell::new(false) });
    if SEEN.get() {
        return Ok(());
    }
    let mut least: Vec<u8> = Vec::new();
    least.try_reserve_exact(LEAST).map_err(|_| Error::new(Code::OutOfMemory, "the process has no memory left"))?;
    SEEN.set(true);
    Ok(())
}

/// The bytes that this process can still have, and by what they are limited. Files are looked for under `root`.
fn available(root: &Path) -> (u64, &'static str) {
    let limits = [
        (machine(root), "on the machine"),
        (control_group(root), "of its control group's limit"),
        (address_space(root), "of its address space (RLIMIT_AS)"),
        (data(root), "of its data segment (RLIMIT_DATA)"),
    ];
    let known = limits.into_iter().filter_map(|(free, limit)| Some((free?, limit)));
    known.min_by_key(|(free, _)| *free).unwrap_or((u64::MAX, "on the machine"))
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// A line "name value", or "name: value kB", of a table.
fn entry(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', ':']))?;
    let mut words = line.split_whitespace();
    let value: u64 = words.next()?.parse().ok()?;
    Some(if words.next() == Some("kB") { value.saturating_mul(1024) } else { value })
}

fn machine(root: &Path) -> Option<u64> {
    let table = read(&root.join("proc/meminfo"))?;
    let swap = entry(&table, "SwapFree").unwrap_or(0);
    // Kernels before 3.14 do not say what is available.
    let available =
        entry(&table, "MemAvailable").or_else(|| Some(entry(&table, "MemFree")? + entry(&table, "Cached")?))?;
    Some(available.saturating_add(swap))
}

/// The least that any of the groups that the process is in still allows, in version 2 of control groups and in version 1.
fn control_group(root: &Path) -> Option<u64> {
    let groups = read(&root.join("proc/self/cgroup"))?;
    let mounts = read(&root.join("proc/self/mountinfo"))?;
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        // "4:memory:/group" in version 1, "0::/group" in version 2.
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let version_2 = controllers.is_empty();
        if !version_2 && !controllers.split(',').any(|name| name == "memory") {
            continue;
        }
        for folder in folders(&mounts, version_2, group) {
            let folder = root.join(folder.strip_prefix("/").unwrap_or(&folder));
            let free = if version_2 {
                left(&folder, "memory.max", "memory.current", "inactive_file", "active_file")
            } else {
                let usage = "memory.usage_in_bytes";
                left(&folder, "memory.limit_in_bytes", usage, "total_inactive_file", "total_active_file")
            };
            least = least.into_iter().chain(free).min();
        }
    }
    least
}

/// The folders of a group and of those that it is in, as they are mounted here.
fn folders(mounts: &str, version_2: bool, group: &str) -> Vec<PathBuf> {
    for line in mounts.lines() {
        // "35 31 0:32 /root /mount/point options … - type source options"
        let Some((here, kind)) = line.split_once(" - ") else { continue };
        let mut fields = here.split(' ').skip(3);
        let (Some(mounted), Some(place)) = (fields.next(), fields.next()) else { continue };
        let mut kind = kind.split(' ');
        let is_it = match kind.next() {
            Some("cgroup2") => version_2,
            Some("cgroup") => {
                !version_2 && kind.nth(1).is_some_and(|options| options.split(',').any(|o| o == "memory"))
            }
            _ => false,
        };
        if !is_it {
            continue;
        }
        let place = PathBuf::from(place);
        // In a container the group may be said from another root than the one that is mounted.
        let below = Path::new(group).strip_prefix(mounted).unwrap_or(Path::new(""));
        return below.ancestors().map(|path| place.join(path)).collect();
    }
    Vec::new()
}

/// A group's limit less what it uses; the kernel gives up what it keeps of files. `None` without a limit.
fn left(folder: &Path, limit: &str, usage: &str, inactive: &str, active: &str) -> Option<u64> {
    // "max" is no number.
    let limit: u64 = read(&folder.join(limit))?.trim().parse().ok()?;
    let usage: u64 = read(&folder.join(usage))?.trim().parse().ok()?;
    let table = read(&folder.join("memory.stat")).unwrap_or_default();
    let files = entry(&table, inactive).unwrap_or(0) + entry(&table, active).unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(files)))
}

/// A limit of the process, if it has one.
fn limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: writes one struct.
    let known = unsafe { libc::getrlimit(resource, &raw mut limit) } == 0;
    Some(limit.rlim_cur).filter(|limit| known && *limit != libc::RLIM_INFINITY)
}

fn address_space(root: &Path) -> Option<u64> {
    let limit = limit(libc::RLIMIT_AS)?;
    Some(limit.saturating_sub(entry(&read(&root.join("proc/self/status"))?, "VmSize")?))
}

fn data(root: &Path) -> Option<u64> {
    let limit = limit(libc::RLIMIT_DATA)?;
    Some(limit.saturating_sub(entry(&read(&root.join("proc/self/status"))?, "VmData")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of files as the kernel would show them.
    fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("planrt-memory-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn of_all_limits_the_least() {
        let meminfo = "MemTotal:  8000000 kB\nMemFree: 100 kB\nMemAvailable:   4000 kB\nSwapFree: 96 kB\n";
        let root = tree("machine", &[("proc/meminfo", meminfo)]);
        assert_eq!(available(&root), (4096 << 10, "on the machine"));
        fs::remove_dir_all(root).unwrap();
        assert_eq!(available(Path::new("/no/such/root")).0, u64::MAX);
    }

    #[test]
    fn a_group_of_version_2_and_those_that_it_is_in() {
        let root = tree(
            "2",
            &[
                ("proc/self/cgroup", "0::/pod/app\n"),
                ("proc/self/mountinfo", "30 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
                ("sys/fs/cgroup/pod/memory.max", "1000\n"),
                ("sys/fs/cgroup/pod/memory.current", "900\n"),
                ("sys/fs/cgroup/pod/memory.stat", "anon 1\ninactive_file 200\nactive_file 100\nfile 777\n"),
                ("sys/fs/cgroup/pod/app/memory.max", "max\n"),
                ("sys/fs/cgroup/pod/app/memory.current", "50\n"),
            ],
        );
        assert_eq!(control_group(&root), Some(400));
        fs::write(root.join("sys/fs/cgroup/pod/app/memory.max"), "60").unwrap();
        assert_eq!(control_group(&root), Some(10));
        fs::write(root.join("proc/self/cgroup"), "0::/elsewhere\n").unwrap();
        assert_eq!(control_group(&root), None);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_group_of_version_1_in_a_container() {
        let root = tree(
            "1",
            &[
                ("proc/self/cgroup", "5:cpu:/docker/abc\n4:hugetlb,memory:/docker/abc\n0::/\n"),
                ("proc/self/mountinfo", "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "4500"),
                ("sys/fs/cgroup/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 30\ntotal_active_file 20\n"),
            ],
        );
        assert_eq!(control_group(&root), Some(550));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn more_than_any_machine_has_is_refused() {
        let error = require("a test", 1 << 60).unwrap_err();
        assert_eq!(error.code(), Code::OutOfMemory);
        assert!(error.message().starts_with("a test would take"), "{error}");
        require("a test", 0).unwrap();
    }
}
