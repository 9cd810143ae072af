//! The doubles, and what they are asked.

use libloading::os::unix::Library as SharedObject;
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_void};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tensorrt_sys::{Absent, Error, Generation, Library, ParserLibrary, Row, methods};

/// A loaded test double of TensorRT.
pub struct Double {
    pub path: PathBuf,
    pub library: Library,
    record: unsafe extern "C" fn(bool),
    take: unsafe extern "C" fn() -> *const c_char,
    alive: unsafe extern "C" fn() -> i64,
    calls_from_cpp: unsafe extern "C" fn(*mut c_void, i64, *mut c_void) -> i64,
    pub parser: ParserLibrary,
    /// The parser's library has a record of its own.
    parser_record: unsafe extern "C" fn(bool),
    parser_take: unsafe extern "C" fn() -> *const c_char,
    /// The methods that were seen to arrive.
    seen: Mutex<BTreeSet<String>>,
}

/// The doubles, one after another. One test at a time has them, as long as it keeps the iterator: a
/// double has one record for the whole process.
pub fn doubles() -> impl Iterator<Item = &'static Double> {
    static DOUBLES: OnceLock<Vec<Double>> = OnceLock::new();
    static ONE_TEST: Mutex<()> = Mutex::new(());

    struct Doubles(std::slice::Iter<'static, Double>, #[allow(dead_code)] MutexGuard<'static, ()>);

    impl Iterator for Doubles {
        type Item = &'static Double;

        fn next(&mut self) -> Option<&'static Double> {
            self.0.next()
        }
    }

    let guard = ONE_TEST.lock().unwrap_or_else(PoisonError::into_inner);
    let doubles = DOUBLES.get_or_init(|| build().iter().map(|path| load(path)).collect());
    Doubles(doubles.iter(), guard)
}

/// Runs `build.sh`.
fn build() -> Vec<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/double/build.sh");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("double");
    let built = Command::new(script).arg(out).output().unwrap();
    assert!(built.status.success(), "{script}: {}", String::from_utf8_lossy(&built.stderr));
    let paths = String::from_utf8(built.stdout).unwrap();
    paths.lines().map(PathBuf::from).collect()
}

fn load(path: &Path) -> Double {
    // SAFETY: the library is the double, whose functions have these types.
    unsafe {
        let library = Library::open(path).unwrap();
        let object = SharedObject::new(path).unwrap();
        let parser_path = path.with_file_name(ParserLibrary::name(library.version()));
        let parser_object = SharedObject::new(&parser_path).unwrap();
        let double = Double {
            path: path.to_owned(),
            library,
            record: *object.get(b"doubleRecord\0").unwrap(),
            take: *object.get(b"doubleTake\0").unwrap(),
            alive: *object.get(b"doubleAlive\0").unwrap(),
            calls_from_cpp: *object.get(b"doubleCallsFromCpp\0").unwrap(),
            parser: ParserLibrary::open(&parser_path).unwrap(),
            parser_record: *parser_object.get(b"parserRecord\0").unwrap(),
            parser_take: *parser_object.get(b"parserTake\0").unwrap(),
            seen: Mutex::default(),
        };
        std::mem::forget((object, parser_object));
        double
    }
}

impl Double {
    /// Starts recording.
    pub fn start(&self) {
        // SAFETY: no condition.
        unsafe {
            (self.record)(true);
            (self.parser_record)(true);
        }
        self.take();
    }

    /// Ends recording.
    pub fn stop(&self) {
        // SAFETY: no condition.
        unsafe {
            (self.record)(false);
            (self.parser_record)(false);
        }
    }

    /// What was recorded since the last time, the parser's calls first.
    pub fn take(&self) -> Vec<String> {
        // SAFETY: the strings live until the next call.
        let (parser, own) = unsafe { (CStr::from_ptr((self.parser_take)()), CStr::from_ptr((self.take)())) };
        let lines = parser.to_str().unwrap().lines().chain(own.to_str().unwrap().lines());
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        let names = lines.iter().map(|line| name(line).to_owned());
        self.seen.lock().unwrap().extend(names);
        lines
    }

    /// How many of the double's objects are alive.
    pub fn alive(&self) -> i64 {
        // SAFETY: no condition.
        unsafe { (self.alive)() }
    }

    /// Nanoseconds that so many enqueues take when C++ calls them.
    ///
    /// # Safety
    /// `context` is a context of this double's that is ready.
    pub unsafe fn calls_from_cpp(&self, context: *mut c_void, count: i64) -> i64 {
        // SAFETY: by contract.
        unsafe { (self.calls_from_cpp)(context, count, std::ptr::null_mut()) }
    }

    /// Makes a call and holds against it what arrived and what came back.
    pub fn expect<T: PartialEq + Debug>(&self, line: &str, value: T, call: impl FnOnce() -> T) {
        assert_eq!(call(), value, "{}: {line}", self.library.version());
        assert_eq!(self.take(), [line], "{}", self.library.version());
    }

    /// [`expect`](Self::expect), or that the call is absent and nothing arrived where the version
    /// has no such method.
    pub fn expect_optional<T: PartialEq + Debug, E: Into<Error> + Debug>(
        &self,
        line: &str,
        value: T,
        call: impl FnOnce() -> Result<T, E>,
    ) {
        let version = self.library.version();
        let row = methods().find(|row| row_name(row) == name(line)).unwrap();
        if row.slot(version).is_some() {
            self.expect(line, value, || call().unwrap());
            return;
        }
        let error: Error = call().unwrap_err().into();
        let Error::Absent(Absent { row, .. }) = error else { panic!("{version}: {line}: {error}") };
        assert_eq!(row_name(&row), name(line), "{version}");
        assert!(self.take().is_empty(), "{version}: {line}");
    }

    /// Ends recording, and checks that every method of the tables has arrived.
    pub fn finish(&self) {
        self.take();
        self.stop();
        let version = self.library.version();
        let seen = self.seen.lock().unwrap().clone();
        for row in methods().filter(|row| row.slot(version).is_some()) {
            let name = row_name(row);
            // Where there are both, the second is called.
            if name.ends_with("::setShapeValues") && seen.contains(&format!("{name}V2")) {
                continue;
            }
            // TensorRT 8 is asked for weights layer by layer, and the double has one kind of layer with weights; later versions'
            // parser refits.
            let is_of_8 = name.ends_with("Weights") && name.contains("Layer::") || name.starts_with("IScaleLayer");
            let only_8 = ["ILayer::getType", "IRefitter::setWeights"].contains(&name.as_str());
            if is_of_8 || (only_8 && version.generation != Generation::V8) {
                continue;
            }
            // TensorRT calls these; their own tests look at them.
            if !["ILogger", "IProfiler", "IVersionedInterface", "IProgressMonitor"]
                .iter()
                .any(|own| name.starts_with(own))
            {
                assert!(seen.contains(&name), "{version}: {name} was not called");
            }
        }
    }
}

/// `ICudaEngine::getName` of `ICudaEngine::getName()`.
fn name(line: &str) -> &str {
    line.split('(').next().unwrap()
}

/// `ICudaEngine::getName` of `const char *VCudaEngine::getName() const`.
fn row_name(row: &Row) -> String {
    let head = name(row.declaration).trim_end().rsplit([' ', '*', '&']).next().unwrap();
    match head.strip_prefix('V') {
        Some(rest) => format!("I{rest}"),
        None => head.to_owned(),
    }
}
