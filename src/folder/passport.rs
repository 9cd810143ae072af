//! The passport of a model folder, `planrt.json`: docs/folder.md describes it.

use super::hashes::check_inside;
use super::parts::Parts;
use crate::error::{Code, Error, Result};
use crate::json::{self, Node};
use crate::quote::{quoted, shown};
use crate::tensor::{ElementType, Shape};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

/// The passport's file.
pub const FILE: &str = "planrt.json";
const VERSION: u64 = 1;
/// What no network has.
const MOST_CHANNELS: u64 = 1 << 16;
pub type Hash = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub rtol: f64,
    pub atol: f64,
}

/// What an output of another kernel may differ by.
const DEFAULT_TOLERANCE: Tolerance = Tolerance { rtol: 1e-4, atol: 9e-4 };

#[derive(Debug)]
pub struct File {
    /// In the folder, with `/` between the parts.
    pub path: String,
    pub hash: Hash,
}

#[derive(Debug)]
pub struct Plan {
    pub file: String,
    /// The name of the GPU that it was built on.
    pub device: Option<String>,
    pub tolerance: Option<Tolerance>,
}

/// One tensor of a test.
#[derive(Debug)]
pub struct Vector {
    pub name: String,
    pub file: String,
    pub element_type: ElementType,
    pub shape: Shape,
}

#[derive(Debug)]
pub struct Test {
    pub name: String,
    pub inputs: Vec<Vector>,
    pub outputs: Vec<Vector>,
}

/// The last convolution of a model, which was folded out of it.
#[derive(Debug)]
pub struct Head {
    pub file: String,
    pub features: usize,
    pub channels: usize,
    /// The output of the folder's models that is the features, and the one of the whole model.
    pub input: String,
    pub output: String,
}

#[derive(Debug)]
pub struct Passport {
    pub name: String,
    pub files: Vec<File>,
    pub onnx: Option<String>,
    pub plans: Vec<Plan>,
    pub tolerance: Tolerance,
    pub tests: Vec<Test>,
    pub head: Option<Head>,
    /// Of its recipe.
    pub parts: Parts,
}

/// The passport's member that says what is done to a volume.
pub const RECIPE: &str = "recipe";

impl Passport {
    pub fn read(folder: &Path) -> Result<Self> {
        let path = place(folder)?;
        let bytes = json::bytes(&path)?;
        let value = json::parse(&path, &bytes)?;
        let root = Node::new(&value, &path);
        let version = root.get("planrt_folder")?.whole(1, u64::MAX)?;
        if version > VERSION {
            return Err(Error::new(
                Code::Unsupported,
                format!(
                    "{} is of version {version} of the format; this planrt reads version {VERSION}: a later one is needed",
                    shown(&path)
                ),
            ));
        }
        check_seal(&root.get("sha256")?, &bytes)?;
        let passport = Self {
            name: root.find("name")?.map(|node| text(&node)).transpose()?.unwrap_or_default(),
            files: root.get("files")?.items()?.iter().map(file).collect::<Result<_>>()?,
            onnx: root.find("onnx")?.map(|node| inner_path(&node)).transpose()?,
            plans: list(&root, "plans", plan)?,
            tolerance: root.find("tolerance")?.map(|node| tolerance(&node)).transpose()?.unwrap_or(DEFAULT_TOLERANCE),
            tests: list(&root, "tests", test)?,
            head: root.find("head")?.map(|node| head(&node)).transpose()?,
            parts: root.find(RECIPE)?.map(|recipe| Parts::read(&recipe)).transpose()?.unwrap_or_default(),
        };
        passport.check(&root)?;
        Ok(passport)
    }

    /// Every file that is used has a hash, and one only.
    fn check(&self, root: &Node) -> Result<()> {
        let mut files = HashSet::new();
        for file in &self.files {
            if !files.insert(file.path.as_str()) {
                return Err(root.wrong(format_args!("{} is among the files twice", quoted(&file.path))));
            }
        }
        let vectors = self.tests.iter().flat_map(|test| test.inputs.iter().chain(&test.outputs));
        let models = self.onnx.iter().chain(self.plans.iter().map(|plan| &plan.file));
        let used = models.chain(self.head.iter().map(|head| &head.file)).chain(vectors.map(|one| &one.file));
        let used = used.cloned().chain(self.parts.folders().map(|folder| format!("{folder}/{FILE}")));
        for path in used {
            if !files.contains(path.as_str()) {
                return Err(root.wrong(format_args!("{} is used, and is not among the files", quoted(&path))));
            }
        }
        match (self.has_model(), self.parts.ensemble.is_empty()) {
            (false, true) => Err(root.wrong("it names no model: neither \"onnx\" nor \"plans\"")),
            (true, false) => Err(root.wrong("it names a model of its own, and an ensemble in its place")),
            _ => Ok(()),
        }
    }

    pub fn has_file(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    pub fn has_model(&self) -> bool {
        self.onnx.is_some() || !self.plans.is_empty()
    }
}

/// Where the passport of a folder lies, if it does.
fn place(folder: &Path) -> Result<PathBuf> {
    let not_found = |message| Err(Error::new(Code::NotFound, message));
    let unreadable = |path: &Path, error| Error::new(Code::Io, format!("{} cannot be read: {error}", shown(path)));
    let is_missing = |error: &io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    match folder.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return not_found(format!("{} is no folder; name the one that {FILE} is in", shown(folder))),
        Err(error) if is_missing(&error) => return not_found(format!("there is no model folder at {}", shown(folder))),
        Err(error) => return Err(unreadable(folder, error)),
    }
    let path = folder.join(FILE);
    match path.symlink_metadata() {
        Ok(_) => {}
        Err(error) if is_missing(&error) => {
            return not_found(format!("{} is no model folder: it has no {FILE}", shown(folder)));
        }
        Err(error) => return Err(unreadable(&path, error)),
    }
    let root = folder.canonicalize().map_err(|error| unreadable(folder, error))?;
    let real = path.canonicalize().map_err(|error| unreadable(&path, error))?;
    check_inside(&root, &path, &real)?;
    match real.is_file() {
        true => Ok(path),
        false => Err(Error::new(Code::Io, format!("{} is not a regular file", shown(&path)))),
    }
}

/// The passport's own hash.
fn check_seal(node: &Node, bytes: &[u8]) -> Result<()> {
    let seal = node.text()?.as_bytes();
    hash(node)?;
    let mut unsealed = bytes.to_vec();
    let place = unsealed.windows(seal.len()).position(|window| window == seal);
    if let Some(place) = place {
        unsealed[place..place + seal.len()].fill(b'0');
    }
    match place.is_some() && hex(&Sha256::digest(&unsealed).into()).as_bytes() == seal {
        true => Ok(()),
        false => Err(node.wrong("the passport was changed: its own hash is another; get the folder anew")),
    }
}

pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(node: &Node) -> Result<Hash> {
    let wrong = || node.wrong("64 digits are expected, 0 to 9 and a to f");
    let text = node.text()?.as_bytes();
    if text.len() != 64 || !text.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(wrong());
    }
    let mut hash = Hash::default();
    for (byte, digits) in hash.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
        *byte = digit(digits[0]) << 4 | digit(digits[1]);
    }
    Ok(hash)
}

fn list<T>(root: &Node, key: &str, read: impl Fn(&Node) -> Result<T>) -> Result<Vec<T>> {
    root.find(key)?.map_or(Ok(Vec::new()), |node| node.items()?.iter().map(read).collect())
}

fn text(node: &Node) -> Result<String> {
    node.text().map(str::to_owned)
}

/// A path that stays in the folder, as the one text that stands for its place: `a/b` for `a//b/`, too.
pub fn inner_path(node: &Node) -> Result<String> {
    let path = node.text()?;
    let part = |part| match part {
        Component::Normal(part) => part.to_str(),
        _ => None,
    };
    let parts: Option<Vec<_>> = Path::new(path).components().map(part).collect();
    match parts {
        Some(parts) if !parts.is_empty() && !path.contains(['\0', '\\']) => Ok(parts.join("/")),
        _ => Err(node.wrong(format_args!("{} leads out of the folder, or is no path", quoted(path)))),
    }
}

fn file(node: &Node) -> Result<File> {
    Ok(File { path: inner_path(&node.get("path")?)?, hash: hash(&node.get("sha256")?)? })
}

fn plan(node: &Node) -> Result<Plan> {
    Ok(Plan {
        file: inner_path(&node.get("file")?)?,
        device: node.find("device")?.map(|node| text(&node)).transpose()?,
        tolerance: node.find("tolerance")?.map(|node| tolerance(&node)).transpose()?,
    })
}

fn head(node: &Node) -> Result<Head> {
    node.only(&["file", "features", "channels", "input", "output"])?;
    let count = |key| Ok::<_, Error>(node.get(key)?.whole(1, MOST_CHANNELS)? as usize);
    Ok(Head {
        file: inner_path(&node.get("file")?)?,
        features: count("features")?,
        channels: count("channels")?,
        input: text(&node.get("input")?)?,
        output: text(&node.get("output")?)?,
    })
}

fn tolerance(node: &Node) -> Result<Tolerance> {
    let part = |key| {
        let node = node.get(key)?;
        Some(node.number()?).filter(|number| *number >= 0.0).ok_or_else(|| node.wrong("a number from 0 on is expected"))
    };
    Ok(Tolerance { rtol: part("rtol")?, atol: part("atol")? })
}

fn test(node: &Node) -> Result<Test> {
    let vectors = |key| node.get(key)?.items()?.iter().map(vector).collect::<Result<Vec<_>>>();
    if node.get("outputs")?.items()?.is_empty() {
        return Err(node.wrong("it has no outputs: a test that compares nothing passes with any model"));
    }
    Ok(Test {
        name: node.find("name")?.map(|node| text(&node)).transpose()?.unwrap_or_default(),
        inputs: vectors("inputs")?,
        outputs: vectors("outputs")?,
    })
}

fn vector(node: &Node) -> Result<Vector> {
    let types = ElementType::ALL.map(|element_type| (element_type.name().to_str().unwrap_or_default(), element_type));
    let shape = node.get("shape")?;
    let extents =
        shape.items()?.iter().map(|extent| Ok(extent.whole(0, 1 << 40)? as i64)).collect::<Result<Vec<_>>>()?;
    Ok(Vector {
        name: text(&node.get("name")?)?,
        file: inner_path(&node.get("file")?)?,
        element_type: node.get("element_type")?.word(&types)?,
        shape: Shape::new(&extents).map_err(|error| shape.wrong(error))?,
    })
}
