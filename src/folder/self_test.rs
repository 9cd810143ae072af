//! The test vectors of a folder, run on the machine where it is deployed.

use super::Folder;
use super::passport::{Test, Tolerance, Vector};
use crate::backend::Engine;
use crate::context::{Context, NamedTensor};
use crate::engine::Backend;
use crate::error::{Code, Error, Result};
use crate::model;
use crate::process::memory;
use crate::quote::{quoted, shown};
use crate::tensor::ElementType;
use half::{bf16, f16};
use serde_json::{Value, json};
use std::sync::Arc;

/// How an engine did.
pub struct Outcome {
    /// For programs: an object with `tests`.
    pub report: Value,
    /// What is off, a line each; none where the model agrees.
    pub wrong: Vec<String>,
}

impl Outcome {
    /// The report, or the error of a model that does not agree.
    pub fn into_result(self) -> Result<Value> {
        if self.wrong.is_empty() {
            return Ok(self.report);
        }
        let message =
            "the model does not pass its self-test: its answers on this machine are not those of its test vectors";
        Err(Error::new(Code::SelfTest, message).with_detail(self.wrong.join("\n")))
    }
}

impl Folder {
    /// Runs the test vectors on an engine that was loaded from this folder.
    pub fn self_test(&self, engine: &Arc<dyn Engine>) -> Result<Outcome> {
        let tolerance = self.tolerance(engine)?;
        if self.passport.tests.is_empty() {
            let message = format!("{} has no test vectors: its passport names none", shown(&self.root));
            return Err(Error::new(Code::NotFound, message));
        }
        let context = Context::new(engine.clone())?;
        let mut outcome = Outcome { report: Value::Null, wrong: Vec::new() };
        let mut tests = Vec::new();
        for test in &self.passport.tests {
            let outputs = self.run(&context, test, tolerance).map_err(|error| {
                let error = error.within(format_args!("{}: test {}", shown(&self.root), quoted(&test.name)));
                match error.code() {
                    // Of a tensor that the model lacks: a folder without tests is something else.
                    Code::NotFound => Error::new(Code::InvalidModel, error.message()),
                    _ => error,
                }
            })?;
            for (vector, compared) in test.outputs.iter().zip(&outputs) {
                if let Some(line) = compared.wrong(tolerance) {
                    outcome.wrong.push(format!("test {}, output {}: {line}", quoted(&test.name), quoted(&vector.name)));
                }
            }
            let outputs: Vec<_> = test.outputs.iter().zip(&outputs).map(|(vector, one)| one.json(vector)).collect();
            tests.push(json!({ "name": test.name, "outputs": outputs }));
        }
        outcome.report = json!({
            "agrees": outcome.wrong.is_empty(),
            "tolerance": { "rtol": tolerance.rtol, "atol": tolerance.atol },
            "tests": tests,
        });
        Ok(outcome)
    }

    /// The tolerance of the model that the engine was loaded from. A plan that is not among the folder's may have been built of it
    /// here.
    fn tolerance(&self, engine: &Arc<dyn Engine>) -> Result<Tolerance> {
        let fingerprint = engine.description().fingerprint;
        let is_this = |file: &str| self.data(file).is_ok_and(|data| model::fingerprint(data) == fingerprint);
        if let Some(plan) = self.passport.plans.iter().find(|plan| is_this(&plan.file)) {
            return Ok(plan.tolerance.unwrap_or(self.passport.tolerance));
        }
        let is_plan = engine.description().backend == Backend::TensorRt;
        // A fingerprint is of the weights in other files, too.
        let has_weights_beside = |file: &str| self.weights(file).is_ok_and(|weights| weights.folder.is_some());
        let is_ours = |file: &str| is_plan || is_this(file) || has_weights_beside(file);
        match self.onnx().is_some_and(is_ours) {
            true => Ok(self.passport.tolerance),
            false => {
                let message =
                    format!("the engine was not loaded from {}: none of its models is this one", shown(&self.root));
                Err(Error::new(Code::InvalidArgument, message))
            }
        }
    }

    fn run(&self, context: &Context, test: &Test, tolerance: Tolerance) -> Result<Vec<Compared>> {
        let size = |vector: &Vector| self.data(&vector.file).map_or(0, |data| data.len() as u64);
        let size = |vectors: &[Vector]| vectors.iter().map(size).sum::<u64>();
        memory::require("the test vectors", size(&test.inputs).saturating_add(2 * size(&test.outputs)))?;
        let expected = test.outputs.iter().map(|vector| self.elements(vector)).collect::<Result<Vec<_>>>()?;
        let mut given = test.inputs.iter().map(|vector| self.elements(vector)).collect::<Result<Vec<_>>>()?;
        let mut answers: Vec<_> = expected.iter().map(|bytes| vec![0; bytes.len()]).collect();
        let lent =
            |(vector, bytes): (&'_ Vector, &'_ mut Vec<u8>)| (vector.name.clone(), bytes.as_mut_ptr(), bytes.len());
        let inputs: Vec<_> = test.inputs.iter().zip(&mut given).map(lent).collect();
        let outputs: Vec<_> = test.outputs.iter().zip(&mut answers).map(lent).collect();
        // SAFETY: the memory is that of `given` and `answers`, which are not touched meanwhile.
        unsafe { context.run(&named(&test.inputs, &inputs), &named(&test.outputs, &outputs)) }?;
        let compare = |((vector, expected), answer): ((&Vector, &Vec<u8>), &Vec<u8>)| {
            let shape = context.output_shape(&vector.name)?;
            let wrong_shape = (shape != vector.shape).then(|| format!("its shape is {shape}, not {}", vector.shape));
            Ok(Compared::new(vector.element_type, expected, answer, tolerance, wrong_shape))
        };
        test.outputs.iter().zip(&expected).zip(&answers).map(compare).collect()
    }

    /// The bytes of a vector: as many as its shape says.
    fn elements(&self, vector: &Vector) -> Result<Vec<u8>> {
        let data = self.data(&vector.file)?;
        let needed = vector.shape.bytes(vector.element_type)?;
        match data.len() == needed {
            true => Ok(data.to_vec()),
            false => {
                let (file, shape, kind) = (quoted(&vector.file), &vector.shape, vector.element_type);
                let message = format!("{file} has {} bytes; {shape} of {kind} takes {needed}", data.len());
                Err(Error::new(Code::InvalidModel, message))
            }
        }
    }
}

fn named<'a>(vectors: &[Vector], lent: &'a [(String, *mut u8, usize)]) -> Vec<NamedTensor<'a>> {
    let one = |(vector, (name, data, size)): (&Vector, &'a (String, *mut u8, usize))| NamedTensor {
        name,
        data: *data,
        size: *size,
        element_type: vector.element_type,
        shape: vector.shape,
    };
    vectors.iter().zip(lent).map(one).collect()
}

/// How an answer differs from what was expected.
struct Compared {
    elements: usize,
    /// Elements beyond the tolerance.
    off: usize,
    largest: f64,
    mean: f64,
    wrong_shape: Option<String>,
}

impl Compared {
    fn new(
        kind: ElementType,
        expected: &[u8],
        answer: &[u8],
        tolerance: Tolerance,
        wrong_shape: Option<String>,
    ) -> Self {
        let size = kind.size();
        let elements = expected.len() / size;
        let (mut off, mut largest, mut sum) = (0, 0f64, 0f64);
        for (expected, answer) in expected.chunks_exact(size).zip(answer.chunks_exact(size)) {
            let (expected, answer) = (number(kind, expected), number(kind, answer));
            // The same infinity, or no number in both.
            if expected == answer || (expected.is_nan() && answer.is_nan()) {
                continue;
            }
            let difference = (expected - answer).abs();
            // One that is NaN is not within either.
            let is_within = difference <= tolerance.atol + tolerance.rtol * expected.abs();
            off += usize::from(!is_within || !difference.is_finite());
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            largest = largest.max(difference);
            sum += difference;
        }
        Self { elements, off, largest, mean: sum / elements.max(1) as f64, wrong_shape }
    }

    fn wrong(&self, Tolerance { rtol, atol }: Tolerance) -> Option<String> {
        if self.wrong_shape.is_some() {
            return self.wrong_shape.clone();
        }
        (self.off > 0).then(|| {
            let Self { elements, off, largest, .. } = self;
            format!("{off} of {elements} elements are off, by {largest:.3e} at most (rtol {rtol:e}, atol {atol:e})")
        })
    }

    fn json(&self, vector: &Vector) -> Value {
        let finite = |number: f64| if number.is_finite() { json!(number) } else { json!(number.to_string()) };
        json!({
            "name": vector.name,
            "agrees": self.off == 0 && self.wrong_shape.is_none(),
            "elements": self.elements,
            "elements_off": self.off,
            "largest_difference": finite(self.largest),
            "mean_difference": finite(self.mean),
        })
    }
}

fn number(kind: ElementType, bytes: &[u8]) -> f64 {
    fn bytes_of<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().unwrap_or([0; N])
    }
    match kind {
        ElementType::Float32 => f32::from_le_bytes(bytes_of(bytes)).into(),
        ElementType::Float16 => f16::from_le_bytes(bytes_of(bytes)).into(),
        ElementType::BFloat16 => bf16::from_le_bytes(bytes_of(bytes)).into(),
        ElementType::Float64 => f64::from_le_bytes(bytes_of(bytes)),
        ElementType::Int8 => i8::from_le_bytes(bytes_of(bytes)).into(),
        ElementType::Uint8 | ElementType::Bool => u8::from_le_bytes(bytes_of(bytes)).into(),
        ElementType::Int16 => i16::from_le_bytes(bytes_of(bytes)).into(),
        ElementType::Uint16 => u16::from_le_bytes(bytes_of(bytes)).into(),
        ElementType::Int32 => i32::from_le_bytes(bytes_of(bytes)).into(),
        ElementType::Int64 => i64::from_le_bytes(bytes_of(bytes)) as f64,
    }
}
