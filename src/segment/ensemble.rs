//! Several models at once, as nnU-Net's ensembles of configurations: each brings the volume through its own networks, and their
//! probabilities are averaged on the scan's grid, plane by plane.
//!
//! Each model works on a thread of its own and waits where the others are behind, so that no more than a few planes of any are there.
//! The sum is taken in the models' order, and so does not depend on who is first.

use super::job::Volume;
use super::meter::Meter;
use super::model::{Model, Share, Terms};
use super::result::Outputs;
use super::scores::{Plane, PlaneSink, Scores, ScoresAsked, Target};
use crate::error::{Code, Error, Result};
use crate::panic::catch;
use crate::process::thread;
use crate::volume::decide::decide;
use crate::volume::grid::Box3;
use crate::volume::recipe::{Activation, Decision, Rule};
use crate::volume::work::allocate;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// What models tell who averages.
enum Message {
    Tiles(usize, usize),
    /// Values of the box's voxels: `[channel, z, y, x]`.
    Plane(Box3, Vec<f32>),
}

/// Messages that wait: a model goes on while another is behind, but not far.
const WAITING: usize = 2;

/// An error where models cannot be averaged.
pub fn check(models: &[Arc<Model>]) -> Result<()> {
    let Some(first) = models.first() else {
        return Err(Error::new(Code::InvalidArgument, "an ensemble has at least one segmenter"));
    };
    let invalid = |message: String| Err(Error::new(Code::InvalidArgument, message));
    for (i, other) in models.iter().enumerate() {
        if other.channels() != first.channels() {
            return invalid(format!(
                "segmenter {i} gives {} channels and the first one {}; an ensemble's are the same",
                other.channels(),
                first.channels()
            ));
        }
        if other.recipe.decision.rule != first.recipe.decision.rule
            || activation(&other.recipe.decision) != activation(&first.recipe.decision)
        {
            return invalid(format!(
                "segmenter {i} decides its labels in another way than the first one; an ensemble's are the same"
            ));
        }
        if plane_axis(other) != plane_axis(first) {
            return invalid(format!(
                "segmenter {i} goes through the scan along another axis than the first one; an ensemble's go along the same"
            ));
        }
        if other.recipe.crop_to_nonzero != first.recipe.crop_to_nonzero {
            return invalid(format!(
                "segmenter {i} and the first one: one cuts to what is not zero, and the other does not"
            ));
        }
        if other.recipe.decision.before_resampling && other.recipe.resampling.is_some() {
            return Err(Error::new(
                Code::Unsupported,
                format!("segmenter {i} decides on the model's grid: there is nothing to be averaged on the scan's"),
            ));
        }
    }
    Ok(())
}

/// What probabilities are made by.
fn activation(decision: &Decision) -> Activation {
    match (&decision.rule, decision.activation) {
        (Rule::Argmax { .. }, Activation::None) => Activation::Softmax,
        (_, activation) => activation,
    }
}

/// How planes follow each other.
fn plane_axis(model: &Model) -> impl PartialEq {
    (model.recipe.orientation, model.recipe.transpose[0])
}

/// Bytes beside the models' own: planes that wait, the one that a model makes, and the sum.
pub fn memory(models: &[Arc<Model>], volume: &Volume) -> u64 {
    let [z, y, x] = volume.grid.extents.map(|extent| extent as u64);
    let plane = (z.saturating_mul(y)).max(y.saturating_mul(x)).max(z.saturating_mul(x));
    let values = plane.saturating_mul(models[0].channels() as u64).saturating_mul(size_of::<f32>() as u64);
    values.saturating_mul(((WAITING + 3) * models.len() + 2) as u64)
}

/// Brings a volume through all models. `shares` are those of each.
pub fn sweep(
    models: &[Arc<Model>],
    bytes: &[u8],
    volume: &Volume,
    outputs: Outputs,
    shares: &[Share],
    terms: Terms,
    meter: &mut Meter,
) -> Result<Outputs> {
    let first_sweep = meter.begin(models.len());
    let run = |model: &Model, share: Share, to: SyncSender<Message>| -> Result<()> {
        let tell = to.clone();
        let asked = ScoresAsked { probabilities: true, target: Target::Planes(sink(to)) };
        let scores = Scores::new(asked, model.channels(), &model.recipe.decision, model.recipe.resampling.is_some())?;
        let outputs = Outputs { labels: None, scores: Some(scores) };
        let told = |done, count| tell.send(Message::Tiles(done, count)).map_err(|_| ended());
        model.sweep(bytes, volume, outputs, share, terms, told).map(|_| ())
    };
    std::thread::scope(|scope| {
        let mut receivers = Vec::new();
        let mut threads = Vec::new();
        for (i, (model, share)) in models.iter().zip(shares).enumerate() {
            let (to, from) = sync_channel(WAITING);
            receivers.push(from);
            let run = &run;
            let work = move || catch(|| run(model, *share, to)).and_then(|outcome| outcome);
            let spawned = thread::spawn_scoped(scope, format!("planrt-ensemble-{i}"), work);
            threads.push(spawned.map_err(|error| {
                Error::new(Code::OutOfMemory, "a thread for a model of the ensemble could not be started")
                    .with_detail(error.to_string())
            })?);
        }
        let merged =
            merge(models, &receivers, outputs, terms, |i, done, count| meter.tell(first_sweep + i, done, count));
        // Whoever still sends finds nobody, and ends.
        drop(receivers);
        let mut failure = None;
        for thread in threads {
            let outcome = thread.join().unwrap_or_else(|_| Err(ended()));
            // Those that were given up for another's failure do not say which.
            if let Err(error) = outcome
                && failure.as_ref().is_none_or(|failure: &Error| failure.code() == Code::Cancelled)
            {
                failure = Some(error);
            }
        }
        // A model's own error says more than that its planes did not come.
        match (merged, failure) {
            (Ok(outputs), None) => Ok(outputs),
            (Err(error), Some(own)) if error.code() == Code::Internal => Err(own),
            (Err(error), _) | (Ok(_), Some(error)) => Err(error),
        }
    })
}

/// Averages planes as they come, and decides.
fn merge(
    models: &[Arc<Model>],
    receivers: &[Receiver<Message>],
    mut outputs: Outputs,
    terms: Terms,
    mut tell: impl FnMut(usize, usize, usize),
) -> Result<Outputs> {
    let recipe = &models[0].recipe;
    let channels = models[0].channels();
    if recipe.crop_to_nonzero {
        outputs.clear();
    }
    let mut decided = Vec::new();
    loop {
        let mut sum: Option<(Box3, Vec<f32>)> = None;
        let mut over = 0;
        for (i, receiver) in receivers.iter().enumerate() {
            let plane = loop {
                match receiver.recv() {
                    Ok(Message::Tiles(done, count)) => tell(i, done, count),
                    Ok(Message::Plane(place, values)) => break Some((place, values)),
                    Err(_) => break None,
                }
            };
            match (&mut sum, plane) {
                (_, None) => over += 1,
                (None, Some(plane)) => sum = Some(plane),
                (Some((place, sum)), Some((other, values))) => {
                    if *place != other {
                        return Err(Error::new(
                            Code::Internal,
                            "models of an ensemble cut the scan to different boxes",
                        ));
                    }
                    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
        }
        terms.job.check(terms.deadline)?;
        let Some((place, mut mean)) = sum.filter(|_| over == 0) else {
            return match over == receivers.len() {
                true => Ok(outputs),
                // One that ended early has failed, and says why itself.
                false => Err(Error::new(Code::Internal, "a model of an ensemble ended before the others")),
            };
        };
        let count = models.len() as f32;
        mean.iter_mut().for_each(|value| *value /= count);
        let voxels = mean.len() / channels;
        if decided.len() != voxels {
            decided = allocate("a plane of labels", voxels)?;
        }
        decide(&mean, &recipe.decision.rule, &mut decided);
        outputs.put(&place, &decided, &mean)?;
    }
}

/// Sends planes to who averages, in the scan's axes.
fn sink(to: SyncSender<Message>) -> PlaneSink {
    Box::new(move |plane: &Plane| {
        let Plane { values, channels, place, layout } = plane;
        let [depth, height, width] = place.extents;
        let mut dense: Vec<f32> = allocate("a plane of probabilities", values.len())?;
        let size = values.len() / channels;
        let rows = dense.chunks_exact_mut(width);
        let from = values.chunks_exact(size).flat_map(|values| {
            (0..depth).flat_map(move |z| (0..height).map(move |y| (values, layout.place([z, y, 0]))))
        });
        for (row, (values, first)) in rows.zip(from) {
            let mut at = first;
            for value in row {
                *value = values[at as usize];
                at += layout.strides[2];
            }
        }
        to.send(Message::Plane(*place, dense)).map_err(|_| ended())
    })
}

/// What a model ends with where nobody hears it any more.
fn ended() -> Error {
    Error::new(Code::Cancelled, "the ensemble ended")
}
