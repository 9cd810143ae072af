use super::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;

/// A folder of a test's, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("planrt-folder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("plans")).unwrap();
        for (file, data) in [("model.onnx", &b"\x08\x07model"[..]), ("plans/a.plan", b"ptrt"), ("empty.bin", b"")] {
            fs::write(root.join(file), data).unwrap();
        }
        Self(root)
    }

    fn entry(&self, file: &str) -> Value {
        json!({ "path": file, "sha256": passport::hex(&Sha256::digest(fs::read(self.0.join(file)).unwrap()).into()) })
    }

    fn passport(&self) -> Value {
        json!({
            "planrt_folder": 1,
            "name": "small",
            "files": [self.entry("model.onnx"), self.entry("plans/a.plan"), self.entry("empty.bin")],
            "onnx": "model.onnx",
            "plans": [{ "file": "plans/a.plan", "tolerance": { "rtol": 0.1, "atol": 0 } }],
            "checks": [{ "anything": true }],
        })
    }

    fn write(&self, mut passport: Value) {
        passport["sha256"] = "0".repeat(64).into();
        let text = passport.to_string();
        let seal = passport::hex(&Sha256::digest(&text).into());
        fs::write(self.0.join(passport::FILE), text.replacen(&"0".repeat(64), &seal, 1)).unwrap();
    }

    fn refused(&self, code: Code, text: &str) {
        let error = Folder::open(&self.0).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(text), "{error}");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_folder_as_its_passport_says_is_opened() {
    let scratch = Scratch::new("good");
    scratch.write(scratch.passport());
    let folder = Folder::open(&scratch.0).unwrap();
    assert_eq!((folder.name(), folder.file_count(), folder.onnx()), ("small", 3, Some("model.onnx")));
    assert_eq!(folder.passport.plans[0].tolerance, Some(passport::Tolerance { rtol: 0.1, atol: 0.0 }));
    assert_eq!(folder.passport.tolerance, passport::Tolerance { rtol: 1e-4, atol: 9e-4 });
    // A link within the folder is fine.
    fs::rename(scratch.0.join("model.onnx"), scratch.0.join("other.onnx")).unwrap();
    std::os::unix::fs::symlink("other.onnx", scratch.0.join("model.onnx")).unwrap();
    Folder::open(&scratch.0).unwrap();
}

#[test]
fn each_changed_byte_is_told_with_its_file() {
    let scratch = Scratch::new("changed");
    scratch.write(scratch.passport());
    let passport = fs::read(scratch.0.join(passport::FILE)).unwrap();
    for file in ["model.onnx", "plans/a.plan"] {
        let data = fs::read(scratch.0.join(file)).unwrap();
        for place in 0..data.len() {
            let mut changed = data.clone();
            changed[place] ^= 1;
            fs::write(scratch.0.join(file), changed).unwrap();
            scratch.refused(Code::InvalidModel, file);
        }
        fs::write(scratch.0.join(file), [&data[..], b"\n"].concat()).unwrap();
        scratch.refused(Code::InvalidModel, file);
        fs::write(scratch.0.join(file), data).unwrap();
        Folder::open(&scratch.0).unwrap();
    }
    for place in 0..passport.len() {
        let mut changed = passport.clone();
        changed[place] ^= 1;
        fs::write(scratch.0.join(passport::FILE), changed).unwrap();
        let error = Folder::open(&scratch.0).map(|_| ()).unwrap_err();
        assert!(error.message().contains(passport::FILE), "byte {place}: {error}");
    }
}

#[test]
fn what_is_missing_or_leads_out_is_told() {
    let scratch = Scratch::new("missing");
    scratch.refused(Code::NotFound, "has no planrt.json");
    scratch.write(scratch.passport());
    fs::remove_file(scratch.0.join("plans/a.plan")).unwrap();
    scratch.refused(Code::NotFound, "plans/a.plan is missing");
    std::os::unix::fs::symlink("/dev/null", scratch.0.join("plans/a.plan")).unwrap();
    scratch.refused(Code::InvalidModel, "plans/a.plan is a link that leads out");
    fs::remove_file(scratch.0.join("plans/a.plan")).unwrap();
    fs::create_dir(scratch.0.join("plans/a.plan")).unwrap();
    scratch.refused(Code::Io, "plans/a.plan is a directory");
    let passport = scratch.0.join(passport::FILE);
    let elsewhere = scratch.0.with_extension("json");
    fs::rename(&passport, &elsewhere).unwrap();
    scratch.refused(Code::NotFound, "has no planrt.json");
    std::os::unix::fs::symlink(&elsewhere, &passport).unwrap();
    scratch.refused(Code::InvalidModel, "planrt.json is a link that leads out");
    fs::remove_file(&elsewhere).unwrap();
    scratch.refused(Code::Io, "planrt.json cannot be read");
    fs::remove_file(&passport).unwrap();
    fs::create_dir(&passport).unwrap();
    scratch.refused(Code::Io, "planrt.json is not a regular file");
    let gone = Folder::open(&scratch.0.join("no such folder")).map(|_| ()).unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let file = Folder::open(&scratch.0.join("model.onnx")).map(|_| ()).unwrap_err();
    assert!(file.message().contains("is no folder"), "{file}");
}

#[test]
fn a_passport_that_says_nonsense_is_refused() {
    let scratch = Scratch::new("nonsense");
    let vector = json!({ "name": "x", "file": "empty.bin", "element_type": "float32", "shape": [0] });
    let cases: [(&str, Value, Code, &str); 15] = [
        ("planrt_folder", json!(2), Code::Unsupported, "version 2"),
        ("planrt_folder", json!("1"), Code::InvalidModel, "planrt_folder"),
        ("onnx", json!("/etc/passwd"), Code::InvalidModel, "leads out"),
        ("onnx", json!("../model.onnx"), Code::InvalidModel, "leads out"),
        ("onnx", json!("./plans/../model.onnx"), Code::InvalidModel, "leads out"),
        ("onnx", json!(""), Code::InvalidModel, "leads out"),
        ("onnx", json!("other.onnx"), Code::InvalidModel, "not among the files"),
        ("plans", json!([{ "file": "plans/b.plan" }]), Code::InvalidModel, "not among the files"),
        ("files", json!([{ "path": "model.onnx", "sha256": "12" }]), Code::InvalidModel, "64 digits"),
        ("files", json!([scratch.entry("model.onnx"), scratch.entry("model.onnx")]), Code::InvalidModel, "twice"),
        ("files", json!([scratch.entry("plans/a.plan"), scratch.entry("plans//a.plan")]), Code::InvalidModel, "twice"),
        ("tolerance", json!({ "rtol": -1, "atol": 0 }), Code::InvalidModel, "tolerance.rtol"),
        ("tests", json!([{ "inputs": [vector] }]), Code::InvalidModel, "outputs"),
        ("tests", json!([{ "inputs": [vector], "outputs": [] }]), Code::InvalidModel, "tests[0]"),
        (
            "tests",
            json!([{ "inputs": [{ "name": "x" }], "outputs": [vector] }]),
            Code::InvalidModel,
            "tests[0].inputs[0]",
        ),
    ];
    for (key, value, code, text) in cases {
        let mut passport = scratch.passport();
        passport[key] = value;
        scratch.write(passport);
        scratch.refused(code, text);
    }
    let mut nothing = scratch.passport();
    (nothing["onnx"], nothing["plans"]) = (Value::Null, json!([]));
    scratch.write(nothing);
    scratch.refused(Code::InvalidModel, "names no model");
    fs::write(scratch.0.join(passport::FILE), "{").unwrap();
    scratch.refused(Code::InvalidModel, "no valid JSON");
}

#[test]
fn with_no_plan_that_runs_the_error_says_why_of_each() {
    let scratch = Scratch::new("plans");
    fs::write(scratch.0.join("plans/b.plan"), [&b"vtrt"[..], &[0; 60]].concat()).unwrap();
    let mut passport = scratch.passport();
    passport["plans"].as_array_mut().unwrap().push(json!({ "file": "plans/b.plan" }));
    let entry = scratch.entry("plans/b.plan");
    passport["files"].as_array_mut().unwrap().push(entry);
    scratch.write(passport);
    let folder = Folder::open(&scratch.0).unwrap();
    // No TensorRT is there: the one is cut short, the other cannot be tried.
    let options = crate::runtime::Options {
        tensorrt: crate::backend::tensorrt::Options { path: Some("/no/such/folder".into()), ..Default::default() },
        ..Default::default()
    };
    let error = folder.load(&Runtime::new(options), &EngineOptions::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::IncompatibleModel);
    for text in ["none of its plans", "plans/a.plan: the plan is cut short", "plans/b.plan: ", "on the CPU"] {
        assert!(error.message().contains(text), "{text}: {error}");
    }
}

/// A model as far as its weights are concerned: it says that they lie in that file.
fn model_with_weights_in(file: &str) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let entry = [field(1, b"location"), field(2, file.as_bytes())].concat();
    let weights = [field(13, &entry), vec![14 << 3, 1]].concat();
    [vec![8, 7], field(7, &field(5, &weights))].concat()
}

#[test]
fn weights_in_other_files_are_the_passports_too() {
    let scratch = Scratch::new("weights");
    fs::create_dir(scratch.0.join("onnx")).unwrap();
    let weights = |named: &str, listed: bool| {
        fs::write(scratch.0.join("onnx/model.onnx"), model_with_weights_in(named)).unwrap();
        fs::write(scratch.0.join("onnx/weights.bin"), b"weights").unwrap();
        let mut passport = scratch.passport();
        passport["onnx"] = json!("onnx/model.onnx");
        let files = passport["files"].as_array_mut().unwrap();
        files.push(scratch.entry("onnx/model.onnx"));
        files.extend(listed.then(|| scratch.entry("onnx/weights.bin")));
        scratch.write(passport);
        Folder::open(&scratch.0).unwrap().weights("onnx/model.onnx")
    };
    for named in ["weights.bin", "./weights.bin"] {
        let found = weights(named, true).unwrap();
        assert_eq!((found.folder, found.hashes.len()), (Some(scratch.0.join("onnx/")), 1), "{named}");
    }
    for (named, listed) in [("weights.bin", false), ("../model.onnx", true), ("/etc/passwd", true), ("", true)] {
        let error = weights(named, listed).err().unwrap();
        assert!(error.code() == Code::InvalidModel && error.message().contains("not among the files"), "{error}");
    }
    assert!(Folder::open(&scratch.0).unwrap().weights("plans/a.plan").unwrap().folder.is_none());
}

/// An ONNX model that is said to be a plan would run on the CPU where that is not allowed.
#[test]
fn a_plan_is_a_plan() {
    let scratch = Scratch::new("formats");
    let mut passport = scratch.passport();
    passport["plans"] = json!([{ "file": "plans/a.plan" }, { "file": "model.onnx" }]);
    scratch.write(passport.clone());
    scratch.refused(Code::InvalidModel, "is an ONNX model");
    passport["plans"] = json!([]);
    passport["onnx"] = "plans/a.plan".into();
    scratch.write(passport);
    scratch.refused(Code::InvalidModel, "is a plan");
}

#[test]
fn a_path_written_in_another_way_is_the_same_file() {
    let scratch = Scratch::new("spelling");
    let mut passport = scratch.passport();
    passport["plans"][0]["file"] = json!("plans//./a.plan");
    passport["files"][2] = json!({ "path": "empty.bin/", "sha256": passport["files"][2]["sha256"] });
    scratch.write(passport.clone());
    let folder = Folder::open(&scratch.0).unwrap();
    assert_eq!(folder.passport.plans[0].file, "plans/a.plan");
    assert!(folder.data("empty.bin").is_ok());
    passport["files"][2]["path"] = json!("plans//a.plan");
    scratch.write(passport);
    scratch.refused(Code::InvalidModel, "\"plans/a.plan\" is among the files twice");
}

#[test]
fn folders_in_a_folder_have_their_passports_among_its_files() {
    let scratch = Scratch::new("parts");
    for part in ["a", "b"] {
        fs::create_dir(scratch.0.join(part)).unwrap();
        fs::write(scratch.0.join(part).join(passport::FILE), part).unwrap();
    }
    let recipe = json!({ "planrt_recipe": 1, "ensemble": ["a"], "coarse": { "folder": "b", "margin_mm": 3 } });
    let files = [scratch.entry("a/planrt.json"), scratch.entry("b/planrt.json")];
    let passport = json!({ "planrt_folder": 1, "files": files, "recipe": recipe });
    scratch.write(passport.clone());
    let folder = Folder::open(&scratch.0).unwrap();
    assert!(folder.is_ensemble());
    assert_eq!(folder.parts().collect::<Vec<_>>(), [scratch.0.join("a"), scratch.0.join("b")]);
    let runtime = Runtime::new(crate::runtime::Options::default());
    let error = folder.load(&runtime, &EngineOptions::default()).map(|_| ()).unwrap_err();
    assert!(error.code() == Code::Unsupported && error.message().contains("planrt_segmenter_load"), "{error}");

    let mut lacks = passport.clone();
    lacks["files"] = json!([scratch.entry("a/planrt.json")]);
    scratch.write(lacks);
    scratch.refused(Code::InvalidModel, "b/planrt.json");
    let mut both = passport.clone();
    both["onnx"] = json!("model.onnx");
    both["files"] =
        json!([scratch.entry("a/planrt.json"), scratch.entry("b/planrt.json"), scratch.entry("model.onnx")]);
    scratch.write(both);
    scratch.refused(Code::InvalidModel, "an ensemble in its place");
    let mut coarse = passport.clone();
    coarse["recipe"]["ensemble"] = Value::Null;
    scratch.write(coarse);
    scratch.refused(Code::InvalidModel, "names no model");
    scratch.write(passport);
    fs::write(scratch.0.join("a/planrt.json"), "changed").unwrap();
    scratch.refused(Code::InvalidModel, "a/planrt.json was changed");
}

#[test]
fn a_file_of_a_folder_with_a_head_gives_features() {
    let scratch = Scratch::new("features");
    fs::write(scratch.0.join("head.bin"), [0; 12]).unwrap();
    let mut passport = scratch.passport();
    let head = json!({ "file": "head.bin", "features": 2, "channels": 1, "input": "features", "output": "logits" });
    passport["head"] = head;
    let entry = scratch.entry("head.bin");
    passport["files"].as_array_mut().unwrap().push(entry);
    scratch.write(passport.clone());
    fs::write(scratch.0.join("other.onnx"), b"").unwrap();
    std::os::unix::fs::symlink("../model.onnx", scratch.0.join("plans/link.onnx")).unwrap();
    for file in ["model.onnx", "plans/a.plan", "plans/link.onnx", "plans/../model.onnx"] {
        let file = scratch.0.join(file);
        let error = head_of_file(&file, false).unwrap_err();
        assert!(error.code() == Code::Unsupported && error.message().contains("planrt_segmenter_load"), "{error}");
        let folded = head_of_file(&file, true).unwrap().unwrap();
        assert_eq!((folded.head.features, folded.head.channels), (2, 1));
    }
    for file in ["other.onnx", "head.bin", "none"] {
        assert!(head_of_file(&scratch.0.join(file), false).unwrap().is_none(), "{file}");
    }
    // A passport that was changed still says it, and does not give its head.
    passport["planrt_folder"] = json!(2);
    fs::write(scratch.0.join(passport::FILE), passport.to_string()).unwrap();
    assert_eq!(head_of_file(&scratch.0.join("model.onnx"), false).unwrap_err().code(), Code::Unsupported);
    assert!(head_of_file(&scratch.0.join("model.onnx"), true).is_err());
    passport["head"] = Value::Null;
    scratch.write(passport);
    assert!(head_of_file(&scratch.0.join("model.onnx"), false).unwrap().is_none());
}

/// An update makes a link lead to the new version, at whatever moment: what is loaded is of one version.
#[test]
fn a_link_to_a_folder_may_be_changed_meanwhile() {
    let (old, new) = (Scratch::new("old"), Scratch::new("new"));
    fs::write(new.0.join("model.onnx"), b"\x08\x07another model").unwrap();
    [&old, &new].iter().for_each(|scratch| scratch.write(scratch.passport()));
    let (link, other) = (old.0.join("current"), old.0.join("next"));
    std::os::unix::fs::symlink(&old.0, &link).unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut versions = [&new, &old].into_iter().cycle();
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                std::os::unix::fs::symlink(&versions.next().unwrap().0, &other).unwrap();
                fs::rename(&other, &link).unwrap();
            }
        });
        let opened: Vec<_> = (0..200).map(|_| Folder::open(&link).map(|_| ())).collect();
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        opened.into_iter().for_each(|outcome| outcome.unwrap());
    });
}
