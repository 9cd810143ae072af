//! `planrt_segmenter_options`, `planrt_segmenter` and `planrt_segmentation`.

use super::argument::{Argument, Call, Out, Ref};
use super::engine::{planrt_engine, planrt_engine_options};
use super::error::{lend, planrt_error};
use super::handle::{Handle, opaque};
use super::request::{planrt_request_callback, timeout};
use super::runtime::planrt_runtime;
use super::session::{planrt_session, planrt_session_options};
use super::structs::{Extensible, OutStruct, Struct};
use super::volume::{
    Labels, Map, Scan, flag, planrt_label_map, planrt_score_map, planrt_score_plane, planrt_volume, region,
};
use super::{delete, export};
use crate::error::{Code, Error, Result};
use crate::process::as_application;
use crate::process::stack::with_room;
use crate::runtime::EngineOptions;
use crate::segment::{
    self, Budget, Job, LentMut, Options, Order, ScoresAsked, Segmenter, Target, Treatment, recipe_json,
};
use crate::sync::Mutex;
use crate::volume::grid::Box3;
use crate::volume::work::allocate;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::time::Duration;

/// How a segmenter is made. One thread at a time. Made by `planrt_segmenter_options_new`, owned by the caller, free to be
/// deleted as soon as the segmenter is made.
#[allow(non_camel_case_types)]
pub struct planrt_segmenter_options(Handle<Mutex<Made>>);
opaque!(planrt_segmenter_options, Mutex<Made>);

/// What a segmenter is made with.
#[derive(Clone, Default)]
pub struct Made {
    segmenter: Options,
    /// How `planrt_segmenter_load` loads models.
    engine: EngineOptions,
}

/// Segments whole volumes: a scan goes in with its spacing, a label map on its own grid comes out. It has a session for each
/// fold of its model, and each volume is a stream of requests for tiles. Any thread may use it, several at once: tiles of all
/// volumes under way share batches, and no label depends on what else runs beside it. It keeps its engines.
#[allow(non_camel_case_types)]
pub struct planrt_segmenter(Handle<Segmenter>);
opaque!(planrt_segmenter, Segmenter);

/// A volume that was submitted. Any thread may use it, several at once. It outlives its segmenter.
#[allow(non_camel_case_types)]
pub struct planrt_segmentation(Handle<Job>);
opaque!(planrt_segmentation, Job);

/// Receives how many tiles of a volume are done, and how many there are; false cancels the segmentation. Called by a thread of
/// planrt's, one call at a time, before the first tile and after each. It must not throw; a long one holds up its own volume.
#[allow(non_camel_case_types)]
pub type planrt_segmentation_progress =
    Option<unsafe extern "C" fn(user_data: *mut c_void, done: i64, count: i64) -> bool>;

/// Receives what labels are decided by, plane by plane as planes are done, each voxel once: where a budget is kept by
/// strips a plane comes in several pieces. False ends the segmentation as a cancel does.
/// Planes of what was cut off, where the model's description cuts to what is not zero, do not come: what is there would be 0.
/// `plane` and its values are lent for the call. Called by a thread of planrt's, one call at a time. It must not throw; a long one
/// holds up its own volume.
#[allow(non_camel_case_types)]
pub type planrt_score_plane_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, plane: *const planrt_score_plane) -> bool>;

/// How a volume shall be treated. Fill it with zeros first, which are the defaults, then set `struct_size` to
/// `sizeof(planrt_segmentation_options)`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_segmentation_options {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// Microseconds from the call after which the segmentation ends with `PLANRT_ERROR_DEADLINE`, as soon as what runs of it
    /// has ended; 0 for none. A negative one has passed already: the volume is refused with that error.
    pub timeout_us: i64,
    /// Tiles of higher ones go first, as requests do; of equals those that come first.
    pub priority: i32,
    /// 0: where the network gives what is no number (NaN) the segmentation fails, and the error names the tile. 1: it goes on,
    /// and such a channel counts as the largest.
    pub nan_allowed: i32,
    /// The most bytes of host memory that planrt takes for the volume, beside the application's own; 0 for as much as is of use.
    /// `planrt_segmenter_estimate` says how much that is. A smaller budget is kept with fewer tiles at once, then by working on the
    /// volume in strips, whose tiles at the seams are computed twice, or the volume is refused with `PLANRT_ERROR_OUT_OF_MEMORY` before
    /// anything is computed. The labels are the same to the bit. The segmentation ends with that error where it was to be put together
    /// on a GPU that has no room for it any more when it begins, and the budget is too small for the host.
    pub memory_budget_bytes: usize,
    /// The same of device memory, where the volume is put together on a GPU: beside what engines and sessions have. What is free there
    /// is not exceeded either; where that is less than the volume takes in the narrowest strips, it is put together on the host.
    pub device_memory_budget_bytes: usize,
    /// 0: a volume whose directions are not orthonormal is refused. 1: the closest that are count instead.
    pub any_direction_allowed: i32,
    /// Null, or memory for what the labels are decided by; it is the segmentation's as the label map's is.
    pub scores: *const planrt_score_map,
    /// Null, or what is called as tiles are done.
    pub progress: planrt_segmentation_progress,
    /// Null, or what is called when the segmentation is answered, as for a request.
    pub callback: planrt_request_callback,
    /// Handed to all of them.
    pub user_data: *mut c_void,
    /// The first voxel of a region along z, y and x: as if the scan had no more than that. What is outside has the label 0.
    pub region_start: [i64; 3],
    /// The region's voxels along z, y and x; all 0 for the whole scan.
    pub region_extents: [i64; 3],
    /// Null, or what receives planes of what labels are decided by; then `scores` is null.
    pub score_plane: planrt_score_plane_callback,
    /// 0: planes of logits. 1: of probabilities, as `planrt_score_map`'s member of that name.
    pub score_plane_probabilities: i32,
    /// 0.
    pub reserved: i32,
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_segmentation_options {
    const FIRST_SIZE: usize = 144;
    const NAME: &'static str = "planrt_segmentation_options";
}
const _: () = assert!(size_of::<planrt_segmentation_options>() == planrt_segmentation_options::FIRST_SIZE);

/// What a segmenter's model takes and gives. Set `struct_size` to `sizeof(planrt_segmenter_info)`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_segmenter_info {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// Channels that a volume has.
    pub channels: i32,
    /// Channels of a score map: what the model gives for each voxel.
    pub score_channels: i32,
    /// The largest label that there can be: above 255 the label map is of `PLANRT_UINT16`.
    pub largest_label: i32,
    /// 0.
    pub reserved: i32,
    /// Voxels of a tile along the axes of the model's grid, the slowest first.
    pub patch: [i64; 3],
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_segmenter_info {
    const FIRST_SIZE: usize = 48;
    const NAME: &'static str = "planrt_segmenter_info";
}
const _: () = assert!(size_of::<planrt_segmenter_info>() == planrt_segmenter_info::FIRST_SIZE);

/// Makes options that hold the defaults. `*options_out` is the caller's, for `planrt_segmenter_options_delete`.
///
/// Requires: `options_out` is null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_new(
    options_out: *mut *mut planrt_segmenter_options,
) -> *mut planrt_error {
    export!(; options_out: Out<_> => {
        options_out.give(Handle::new(Mutex::default()));
        Ok(())
    })
}

/// Frees options. Null is accepted.
///
/// Requires: `options` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_delete(options: *mut planrt_segmenter_options) {
    delete!(options);
}

/// How the sessions that run the tiles work; the options are copied. By default as a session's own defaults, but that a tile
/// for which the queue has no room waits (`PLANRT_WHEN_FULL_BLOCK`), and a batch that is not full for others, up to 100 µs.
///
/// Requires: `options` and `session_options` are alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_session_options(
    options: *mut planrt_segmenter_options,
    session_options: *const planrt_session_options,
) -> *mut planrt_error {
    export!(options; session_options: Ref<'_, planrt_session_options> => {
        options.lock().segmenter.session = Some(session_options.lock().clone());
        Ok(())
    })
}

/// How `planrt_segmenter_load` loads the folder's models, as by what ONNX models are run on the CPU, and with how many threads;
/// the options are copied. Default as `planrt_engine_options_new` has it. A plan that is built (`planrt_engine_options_set_build`) of
/// one of several model folders in the folder, as folds are, is kept in a file of its own beside `plan_path`, with the model folder's
/// name in its name.
///
/// Requires: `options` and `engine_options` are alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_engine_options(
    options: *mut planrt_segmenter_options,
    engine_options: *const planrt_engine_options,
) -> *mut planrt_error {
    export!(options; engine_options: Ref<'_, planrt_engine_options> => {
        options.lock().engine = engine_options.lock().clone();
        Ok(())
    })
}

/// How many threads a volume may use for what is not the network: reading, normalizing and resampling it; 0, the default, for
/// one a core.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_threads(
    options: *mut planrt_segmenter_options,
    threads: i32,
) -> *mut planrt_error {
    export!(options; => {
        let most = 0..=MOST_THREADS;
        options.lock().segmenter.threads = usize::try_from(threads).ok().filter(|threads| most.contains(threads)).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("the number of threads is {threads}; take 0 to {MOST_THREADS}"))
        })?;
        Ok(())
    })
}

/// More than any machine makes use of.
const MOST_THREADS: usize = 1024;

/// How much of a tile its neighbour has too, from 0 to below 1, instead of what the model's description says: less is faster.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_overlap(
    options: *mut planrt_segmenter_options,
    overlap: f64,
) -> *mut planrt_error {
    export!(options; => {
        if !(0.0..1.0).contains(&overlap) {
            let message = format!("tiles overlap by {overlap}; take 0 to below 1");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        options.lock().segmenter.overlap = Some(overlap);
        Ok(())
    })
}

/// The axes of the model's grid over all of whose subsets tiles are mirrored, and the results averaged, instead of what the
/// model's description says. None is fastest; all three take eight runs a tile.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_mirrored(
    options: *mut planrt_segmenter_options,
    z: bool,
    y: bool,
    x: bool,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().segmenter.mirrored = Some([z, y, x]);
        Ok(())
    })
}

/// The model's output that is segmented by, where it has several, as a network with heads of its own for other sizes; null, the default,
/// for the one that the model's description names, else the first.
///
/// Requires: `options` is alive, `name` null or a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_output(
    options: *mut planrt_segmenter_options,
    name: *const c_char,
) -> *mut planrt_error {
    export!(options; name: Option<&str> => {
        options.lock().segmenter.output = name.map(str::to_owned);
        Ok(())
    })
}

/// Whether only the largest connected part of each label is kept, and the rest of it becomes 0, instead of what the model's description
/// says, which is no for nnU-Net's and MONAI's.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_largest_component(
    options: *mut planrt_segmenter_options,
    is_kept_alone: bool,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().segmenter.largest_component = Some(is_kept_alone);
        Ok(())
    })
}

/// How much each voxel of a tile counts where tiles overlap, instead of the window in the model's description: a weight from 1e-30 to
/// 1e30 for each voxel that the network gives for a tile, x fastest. They are copied.
///
/// Requires: `options` is alive, `weights` is readable for `weight_count` numbers.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_window(
    options: *mut planrt_segmenter_options,
    weights: *const f32,
    weight_count: usize,
) -> *mut planrt_error {
    export!(options; weights[weight_count]: &[f32] => {
        let mut window = allocate("the window of a patch", weights.len())?;
        window.copy_from_slice(weights);
        options.lock().segmenter.window = Some(window);
        Ok(())
    })
}

/// A small model that finds where the large one is to look: volumes are first segmented with `coarse`, and then what lies in the box of all
/// that has a label there, and `margin_mm` around it, as if the scan had no more. What is outside, and everything where nothing is
/// found, has the label 0. The segmenter keeps what it needs of `coarse`, which may be deleted.
///
/// Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for a margin that is not a number from 0 on.
///
/// Requires: `options` and `coarse` are alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_coarse(
    options: *mut planrt_segmenter_options,
    coarse: *const planrt_segmenter,
    margin_mm: f64,
) -> *mut planrt_error {
    export!(options; coarse: Ref<'_, planrt_segmenter> => {
        options.lock().segmenter.coarse = Some(coarse.get().as_coarse(margin_mm)?);
        Ok(())
    })
}

/// Of an nnU-Net's configurations the one that the models of its folder are, as "3d_fullres"; null, the default, for the one in the
/// folder's name, else 3d_fullres, else the only one for volumes.
///
/// Requires: `options` is alive, `name` null or a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_options_set_configuration(
    options: *mut planrt_segmenter_options,
    name: *const c_char,
) -> *mut planrt_error {
    export!(options; name: Option<&str> => {
        options.lock().segmenter.description.configuration = name.map(str::to_owned);
        Ok(())
    })
}

fn options_or_default(options: Option<Ref<'_, planrt_segmenter_options>>) -> Options {
    options.map(|options| options.lock().segmenter.clone()).unwrap_or_default()
}

fn logging(segmenter: Segmenter) -> Handle<Segmenter> {
    let logs = segmenter.logs();
    Handle::logging(segmenter, &logs)
}

/// Makes a segmenter over the engines of a model, one for each of its folds, whose results are averaged. `recipe_json` says what
/// is done to a volume before, in and after the network, as a `recipe.json` in a model's folder does. Where the engines are of folders
/// with a `head` (`planrt_engine_options_set_features_allowed`) that is applied. `options` may be null for the defaults and is copied.
/// `*segmenter_out` is the caller's, for `planrt_segmenter_delete`. Any thread.
///
/// Errors: `PLANRT_ERROR_INVALID_MODEL` for a recipe that is none, with the key that is wrong; `_SHAPE` where the model does not
/// take the recipe's patch; `_INVALID_ARGUMENT` where they do not go together; `_UNSUPPORTED` for a model that gives no map of
/// its patch; and those of `planrt_session_new`.
///
/// Requires: `engines` is readable for `engine_count` handles that are alive, `recipe_json` a string, `options` null or alive,
/// `segmenter_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_new(
    engines: *const *const planrt_engine,
    engine_count: usize,
    recipe_json: *const c_char,
    options: *const planrt_segmenter_options,
    segmenter_out: *mut *mut planrt_segmenter,
) -> *mut planrt_error {
    export!(;
        engines[engine_count]: Vec<Ref<'_, planrt_engine>>,
        recipe_json: &str,
        options: Option<Ref<'_, planrt_segmenter_options>>,
        segmenter_out: Out<_>
    => {
        let engines: Vec<_> = engines.iter().map(|engine| engine.get().clone()).collect();
        let recipe = recipe_json::parse(recipe_json, "recipe_json")?;
        let options = options_or_default(options);
        segmenter_out.give(logging(with_room(|| Segmenter::new(&engines, recipe, &options))?));
        Ok(())
    })
}

/// The same over sessions of the application's own, one for each fold, which run single requests beside the tiles: both share
/// batches, priorities and statistics. Where the sessions run on several GPUs, a volume and all of its tiles go to the one that
/// then has least to run of other volumes: several volumes at once make use of all. Sessions are best made with
/// `PLANRT_WHEN_FULL_BLOCK`: else a volume fails where a queue is full. Where one is deleted, volumes under way end with
/// `PLANRT_ERROR_SHUT_DOWN`.
///
/// Errors: as for `planrt_segmenter_new`.
///
/// Requires: `sessions` is readable for `session_count` handles that are alive, `recipe_json` a string, `options` null or alive,
/// `segmenter_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_new_over_sessions(
    sessions: *const *const planrt_session,
    session_count: usize,
    recipe_json: *const c_char,
    options: *const planrt_segmenter_options,
    segmenter_out: *mut *mut planrt_segmenter,
) -> *mut planrt_error {
    export!(;
        sessions[session_count]: Vec<Ref<'_, planrt_session>>,
        recipe_json: &str,
        options: Option<Ref<'_, planrt_segmenter_options>>,
        segmenter_out: Out<_>
    => {
        let sessions: Vec<_> = sessions.iter().map(|session| session.get().session().clone()).collect();
        let recipe = recipe_json::parse(recipe_json, "recipe_json")?;
        let options = options_or_default(options);
        let segmenter = with_room(|| Segmenter::over_sessions(&sessions, recipe, &options))?;
        segmenter_out.give(logging(segmenter));
        Ok(())
    })
}

/// Makes a segmenter that averages the probabilities of several on the scan's grid, as nnU-Net does with its configurations: of models
/// that give the same channels, decide by them in the same way, and go through a scan along the same axis. Each of them works as it is made; of
/// `options`, which may be null, only a coarse one counts. It keeps what it needs of the segmenters, which may be deleted.
/// `*segmenter_out` is the caller's, for `planrt_segmenter_delete`. Any thread.
///
/// Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for segmenters that do not go together, `_UNSUPPORTED` for those that decide before they
/// resample.
///
/// Requires: `segmenters` is readable for `segmenter_count` handles that are alive, `options` null or alive, `segmenter_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_new_ensemble(
    segmenters: *const *const planrt_segmenter,
    segmenter_count: usize,
    options: *const planrt_segmenter_options,
    segmenter_out: *mut *mut planrt_segmenter,
) -> *mut planrt_error {
    export!(;
        segmenters[segmenter_count]: Vec<Ref<'_, planrt_segmenter>>,
        options: Option<Ref<'_, planrt_segmenter_options>>,
        segmenter_out: Out<_>
    => {
        let segmenters: Vec<&Segmenter> = segmenters.iter().map(|segmenter| segmenter.get()).collect();
        segmenter_out.give(logging(Segmenter::ensemble(&segmenters, &options_or_default(options))?));
        Ok(())
    })
}

/// Makes a segmenter of a model's folder: its description and its models, one for each fold. Any thread.
///
/// The description is a `recipe.json`, nnU-Net's `plans.json` and `dataset.json`, or a MONAI bundle's `inference.json`; what is not
/// known in them is an error with its name. Models are `fold_0.onnx` and so on, `fold_0/model.onnx` and so on, or the only one
/// in the folder or in `models` there; `.plan` or `.engine` instead of `.onnx` where there is a GPU. A folder with a passport
/// (`planrt_engine_load_folder`), of the model or of a fold, is held against it and says itself what runs; its member `recipe` may
/// be the description. Where its member `head` says that the model's last convolution was folded out of it, that is applied here to
/// what is blended and resampled.
///
/// A `recipe.json`, or a passport's `recipe`, may name model folders in this one, each with a description of its own (docs/folder.md
/// describes it): `ensemble`, whose probabilities are averaged as by `planrt_segmenter_new_ensemble`, and `coarse`, which finds where
/// the others are to look, as by `planrt_segmenter_options_set_coarse`. `options` are about the folder's own model or the averaged ones.
/// The coarse one takes of them how engines are loaded, how sessions work, and the number of threads.
///
/// Errors: as for `planrt_segmenter_new`, and those of `planrt_engine_load_file`; `PLANRT_ERROR_NOT_FOUND` and `_IO` for folders and
/// files; `_UNSUPPORTED` for an ensemble within an ensemble, and where there is a `head` for a description that blends or resamples
/// probabilities, and for folds whose heads are not the same; `_INVALID_ARGUMENT` for models that are not to be averaged, and for a
/// coarse model where `options` have another one.
///
/// Requires: `runtime` is alive, `folder` a string, `options` null or alive, `segmenter_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_load(
    runtime: *const planrt_runtime,
    folder: *const c_char,
    options: *const planrt_segmenter_options,
    segmenter_out: *mut *mut planrt_segmenter,
) -> *mut planrt_error {
    export!(runtime;
        folder: &Path,
        options: Option<Ref<'_, planrt_segmenter_options>>,
        segmenter_out: Out<_>
    => {
        let Made { segmenter: options, engine } = options.map(|options| options.lock().clone()).unwrap_or_default();
        segmenter_out.give(logging(segment::load(runtime, folder, &engine, &options)?));
        Ok(())
    })
}

/// What the segmenter's model takes and gives. Any thread.
///
/// Requires: `segmenter` is alive, `info_out` writable, its `struct_size` set.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_get_info(
    segmenter: *const planrt_segmenter,
    info_out: *mut planrt_segmenter_info,
) -> *mut planrt_error {
    export!(segmenter; info_out: OutStruct<'_, _> => {
        let segment::Info { channels, score_channels, largest_label, patch } = segmenter.info();
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        info_out.set(planrt_segmenter_info {
            struct_size: size_of::<planrt_segmenter_info>(),
            channels: count(channels),
            score_channels: count(score_channels),
            largest_label: largest_label.into(),
            reserved: 0,
            patch: patch.map(|extent| i64::try_from(extent).unwrap_or(i64::MAX)),
        });
        Ok(())
    })
}

/// Ends a segmenter. Volumes under way end with `PLANRT_ERROR_SHUT_DOWN` as soon as what runs of them has ended, callbacks that
/// are due are made, and then the call returns: no callback comes after it. From inside a callback of a volume's the others end.
/// Calls of other threads that wait in `planrt_segmenter_run` end too; none may begin. Null is accepted.
///
/// Requires: `segmenter` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_delete(segmenter: *mut planrt_segmenter) {
    delete!(segmenter);
}

fn budget(bytes: usize) -> Option<u64> {
    (bytes != 0).then_some(bytes as u64)
}

/// What an application wants called.
#[derive(Clone, Copy)]
struct User(*mut c_void);

// SAFETY: the C interface says from which threads callbacks come; the application's data is for it to look after.
unsafe impl Send for User {}

impl User {
    fn data(self) -> *mut c_void {
        self.0
    }
}

/// How a volume is to be treated, understood.
#[derive(Default)]
struct Treated {
    any_direction: bool,
    scores: Option<Asked>,
    region: Option<Box3>,
    treatment: Treatment,
}

/// What labels are decided by, as it is asked for.
enum Asked {
    Map(Map),
    Planes(ScoresAsked),
}

// Boxed, since the calling thread may have little stack.
impl<'call> Argument<'call, *const planrt_segmentation_options> for Box<Treated> {
    unsafe fn convert(raw: *const planrt_segmentation_options, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        let Struct(options) = unsafe { Argument::convert(raw, name, call) }?;
        let timeout = u64::try_from(options.timeout_us).map_err(|_| {
            let late = options.timeout_us.unsigned_abs();
            Error::new(
                Code::Deadline,
                format!("the time-out passed {late} microseconds before the volume was submitted"),
            )
        })?;
        if options.reserved != 0 {
            let message = format!("planrt_segmentation_options.reserved is {}; it is 0", options.reserved);
            return Err(Error::new(Code::Unsupported, message));
        }
        let user = User(options.user_data);
        let any_direction = flag(options.any_direction_allowed, "any_direction_allowed")?;
        let treatment = Treatment {
            priority: options.priority,
            timeout: (timeout != 0).then(|| Duration::from_micros(timeout)),
            nan_allowed: flag(options.nan_allowed, "nan_allowed")?,
            budget: Budget {
                memory: budget(options.memory_budget_bytes),
                device_memory: budget(options.device_memory_budget_bytes),
            },
            progress: options.progress.map(|progress| {
                Box::new(move |done: usize, count: usize| {
                    let (done, count) =
                        (i64::try_from(done).unwrap_or(i64::MAX), i64::try_from(count).unwrap_or(i64::MAX));
                    // SAFETY: the application's function, called as it was declared.
                    as_application(|| unsafe { progress(user.data(), done, count) })
                }) as _
            }),
            callback: options.callback.map(|callback| {
                Box::new(move |outcome: &Result<()>| {
                    // SAFETY: as above.
                    lend(outcome, |error| as_application(|| unsafe { callback(user.data(), error) }));
                }) as _
            }),
        };
        // SAFETY: null, or readable, as the header asks.
        let map: Option<Map> = unsafe { Argument::convert(options.scores, "scores", call) }?;
        let scores = match (map, options.score_plane) {
            (None, None) => None,
            (Some(map), None) => Some(Asked::Map(map)),
            (None, Some(callback)) => {
                let sink = move |plane: &segment::Plane| {
                    let plane = planrt_score_plane::of(plane);
                    // SAFETY: the application's function, called as it was declared.
                    match as_application(|| unsafe { callback(user.data(), &raw const plane) }) {
                        true => Ok(()),
                        false => {
                            Err(Error::new(Code::Cancelled, "the segmentation was cancelled by what takes its planes"))
                        }
                    }
                };
                let probabilities = flag(options.score_plane_probabilities, "score_plane_probabilities")?;
                Some(Asked::Planes(ScoresAsked { probabilities, target: Target::Planes(Box::new(sink)) }))
            }
            (Some(_), Some(_)) => {
                let message = "scores and score_plane are both set: what labels are decided by goes to one of them";
                return Err(Error::new(Code::InvalidArgument, message));
            }
        };
        let region = region(options.region_start, options.region_extents)?;
        Ok(Box::new(Treated { any_direction, scores, region, treatment }))
    }
}

/// Gives the segmenter a volume and returns. `options` may be null. `segmentation_out` receives the segmentation, for
/// `planrt_segmentation_delete`, before its callback can be called; it may be null where a callback is given. Any thread.
///
/// The volume's memory and the label map's are the segmentation's until it is answered, as a request's are: until
/// `planrt_segmentation_wait` or `_poll` has said so or its callback is called. The label map holds anything where it failed. A
/// volume that is refused, by an error of this call, leaves its memory alone.
///
/// Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for a volume with other channels than the model's, a geometry that is none, and for
/// labels larger than the label map's elements; `_BUFFER_TOO_SMALL`; `_OUT_OF_MEMORY` where the budget, or the machine, has less
/// than it takes; `_DEADLINE`; `_UNSUPPORTED`. The callback is not called then.
///
/// Requires: `segmenter` is alive, `volume` and `labels` are readable; the volume's memory is readable for its `size_bytes`, and
/// the label map's writable for its own, until the segmentation is answered.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_submit(
    segmenter: *const planrt_segmenter,
    volume: *const planrt_volume,
    labels: *const planrt_label_map,
    options: *const planrt_segmentation_options,
    segmentation_out: *mut *mut planrt_segmentation,
) -> *mut planrt_error {
    export!(segmenter;
        volume: Scan,
        labels: Labels,
        options: Option<Box<Treated>>,
        segmentation_out: Option<Out<_>>
    => {
        // SAFETY: the memory is the segmentation's until it is answered, as the header asks.
        let order = unsafe { order(&volume, &labels, options) }?;
        if order.treatment.callback.is_none() && segmentation_out.is_none() {
            return Err(Error::new(
                Code::InvalidArgument,
                "segmentation_out is null, and there is no callback: nothing would tell of the answer",
            ));
        }
        segmenter.submit(order, |job| {
            if let Some(segmentation_out) = segmentation_out {
                segmentation_out.give(Handle::new(job));
            }
        })
    })
}

/// Segments a volume and returns when its labels are written, or with the error that it failed with. Any thread.
///
/// Errors: as for `planrt_segmenter_submit`, and those of the segmentation: `PLANRT_ERROR_INVALID_MODEL` for a tile for which
/// the network gave what is no number, `_CANCELLED`, `_DEADLINE`, `_SHUT_DOWN`, and those of the tiles' requests, which name
/// the tile.
///
/// Requires: as for `planrt_segmenter_submit`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_run(
    segmenter: *const planrt_segmenter,
    volume: *const planrt_volume,
    labels: *const planrt_label_map,
    options: *const planrt_segmentation_options,
) -> *mut planrt_error {
    export!(segmenter; volume: Scan, labels: Labels, options: Option<Box<Treated>> => {
        // SAFETY: the memory is the segmentation's until it is answered, as the header asks.
        let order = unsafe { order(&volume, &labels, options) }?;
        let mut job = None;
        segmenter.submit(order, |handed| job = Some(handed))?;
        job.and_then(|job| job.wait(None)).unwrap_or(Ok(()))
    })
}

/// # Safety
/// The memory of both is the job's until it is answered or refused.
unsafe fn order(volume: &Scan, labels: &Labels, options: Option<Box<Treated>>) -> Result<Box<Order>> {
    // SAFETY: as the caller says.
    let memory = unsafe { volume.lent() }?;
    // SAFETY: as the caller says.
    let labels = unsafe { labels.lent(volume.extents()) }?;
    let Treated { any_direction, scores, region, treatment } = *options.unwrap_or_default();
    let scores = match scores {
        None => None,
        // SAFETY: as the caller says.
        Some(Asked::Map(map)) => Some(unsafe { map.lent(volume.extents()) }?),
        Some(Asked::Planes(asked)) => Some(asked),
    };
    Ok(Box::new(Order { scores, region, memory, volume: volume.volume(any_direction), labels, treatment }))
}

/// The most bytes of host memory that planrt takes for a volume with these options, beside the application's own and what the
/// engines and sessions have: `*bytes_out`; and the smallest budget that can be kept, `*least_bytes_out`, which may be null. And the
/// most bytes of device memory, `*device_bytes_out`, and the smallest budget of it that can be kept, in the narrowest strips,
/// `*least_device_bytes_out`, which may be null: a volume is put together on the GPU that the sessions run on,
/// if that is one and has room now; else, and where there is none, it takes none there (0), and more on the host. The volume's
/// `data` is not looked at and may be null. Maps in device memory take their `size_bytes` more on the host. What keeping only
/// the largest connected part of each label takes is counted as for the worst of labels, 6 bytes for each voxel. Any thread.
///
/// Errors: as for `planrt_segmenter_submit`.
///
/// Requires: `segmenter` is alive, `volume` readable, `options` null or readable, `bytes_out` writable, `least_bytes_out`,
/// `device_bytes_out` and `least_device_bytes_out` null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_estimate(
    segmenter: *const planrt_segmenter,
    volume: *const planrt_volume,
    options: *const planrt_segmentation_options,
    bytes_out: *mut usize,
    least_bytes_out: *mut usize,
    device_bytes_out: *mut usize,
    least_device_bytes_out: *mut usize,
) -> *mut planrt_error {
    export!(segmenter;
        volume: Scan,
        options: Option<Box<Treated>>,
        bytes_out: Out<_>,
        least_bytes_out: Option<Out<_>>,
        device_bytes_out: Option<Out<_>>,
        least_device_bytes_out: Option<Out<_>>
    => {
        let Treated { any_direction, scores, region, treatment } = *options.unwrap_or_default();
        let going = scores.map(|asked| match asked {
            Asked::Map(_) => segment::Going::ToMap,
            Asked::Planes(_) => segment::Going::ByPlanes,
        });
        let copies = volume.copy_bytes();
        let volume = volume.volume(any_direction);
        let estimate = segmenter.estimate(&volume, region.as_ref(), going, copies, treatment.budget)?;
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        bytes_out.set(size(estimate.memory));
        for (out, bytes) in [
            (least_bytes_out, estimate.least_memory),
            (device_bytes_out, estimate.device_memory),
            (least_device_bytes_out, estimate.least_device_memory),
        ] {
            if let Some(out) = out {
                out.set(size(bytes));
            }
        }
        Ok(())
    })
}

/// Checks that a volume's labels do not depend on what else runs: segments it by itself, and then `company` times at once with
/// priorities of their own, and compares the masks to the bit. So it takes `company` + 1 times as long, and a label map for each. Of
/// `options`, which may be null, the time-out of each segmentation, `nan_allowed`, the budget, `any_direction_allowed` and the region
/// count. Any thread; what else the segmenter does goes on beside it.
///
/// Errors: `PLANRT_ERROR_SELF_TEST` where a mask differs, with the first voxel where it does; `_INVALID_ARGUMENT` for a company
/// below 1 or above 64; and those of `planrt_segmenter_run`.
///
/// Requires: `segmenter` is alive, `volume` readable, and its memory for its `size_bytes`; `options` null or readable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmenter_check_company(
    segmenter: *const planrt_segmenter,
    volume: *const planrt_volume,
    options: *const planrt_segmentation_options,
    company: i32,
) -> *mut planrt_error {
    export!(segmenter; volume: Scan, options: Option<Box<Treated>> => {
        let company = usize::try_from(company).ok().filter(|company| (1..=64).contains(company)).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("a company of {company}; take 1 to 64"))
        })?;
        let Treated { any_direction, region, treatment, .. } = *options.unwrap_or_default();
        let again = || Treatment {
            timeout: treatment.timeout,
            nan_allowed: treatment.nan_allowed,
            budget: treatment.budget,
            ..Treatment::default()
        };
        segmenter.check_company(
            &volume.volume(any_direction),
            region,
            company,
            // SAFETY: the call waits for all segmentations, and the memory is readable until then, as the header asks.
            || unsafe { volume.lent() },
            // SAFETY: the check keeps each mask until its segmentation is answered.
            |mask| unsafe { LentMut::new(mask.as_mut_ptr(), mask.len(), false) },
            again,
        )
    })
}

/// Waits until the segmentation is answered, and returns its error if it failed; so many microseconds at most, or without end
/// for -1. `*done_out` receives whether it is answered, where no error is returned; it may be null where the wait has no end.
///
/// Errors: the segmentation's own, and then `*done_out` is left alone; `PLANRT_ERROR_INVALID_ARGUMENT` for a time-out below -1;
/// `_IN_USE` inside the segmentation's own progress callback, which would wait for itself.
///
/// Requires: `segmentation` is alive, `done_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmentation_wait(
    segmentation: *const planrt_segmentation,
    timeout_us: i64,
    done_out: *mut bool,
) -> *mut planrt_error {
    export!(segmentation; done_out: Option<Out<_>> => {
        let timeout = timeout(timeout_us)?;
        if timeout.is_some() && done_out.is_none() {
            return Err(Error::new(
                Code::InvalidArgument,
                "done_out is null, and the wait may end before the segmentation",
            ));
        }
        let outcome = segmentation.wait(timeout).transpose()?;
        if let Some(done_out) = done_out {
            done_out.set(outcome.is_some());
        }
        Ok(())
    })
}

/// Whether the segmentation is answered; its labels are written then, if it succeeded. False for a bad handle.
///
/// Requires: `segmentation` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmentation_poll(segmentation: *const planrt_segmentation) -> bool {
    export!(segmentation; else false => segmentation.poll().is_some())
}

/// The error that the segmentation was answered with; null where it succeeded, and while it is not answered.
///
/// Requires: `segmentation` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmentation_get_error(segmentation: *const planrt_segmentation) -> *mut planrt_error {
    export!(segmentation; => segmentation.poll().unwrap_or(Ok(())))
}

/// How many tiles are done, and how many there are: 0 as long as that is not known. Any thread.
///
/// Requires: `segmentation` is alive, `done_out` and `count_out` are writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmentation_get_progress(
    segmentation: *const planrt_segmentation,
    done_out: *mut i64,
    count_out: *mut i64,
) -> *mut planrt_error {
    export!(segmentation; done_out: Out<_>, count_out: Out<_> => {
        let (done, count) = segmentation.progress();
        done_out.set(i64::try_from(done).unwrap_or(i64::MAX));
        count_out.set(i64::try_from(count).unwrap_or(i64::MAX));
        Ok(())
    })
}

/// How much of the scan has a label, in millilitres: its voxels times their size. 0 for a label that no voxel has. Any thread.
///
/// Errors: the segmentation's own, if it failed; `PLANRT_ERROR_IN_USE` while it is not answered.
///
/// Requires: `segmentation` is alive, `volume_ml_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmentation_get_label_volume(
    segmentation: *const planrt_segmentation,
    label: i32,
    volume_ml_out: *mut f64,
) -> *mut planrt_error {
    export!(segmentation; volume_ml_out: Out<_> => {
        let label = u16::try_from(label)
            .map_err(|_| Error::new(Code::InvalidArgument, format!("{label} is no label; they are 0 to 65535")))?;
        volume_ml_out.set(segmentation.volume_ml(label)?);
        Ok(())
    })
}

/// Gives the segmentation up: it is answered with `PLANRT_ERROR_CANCELLED` as soon as the tiles that run have ended. One that is
/// answered stays as it is.
///
/// Requires: `segmentation` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmentation_cancel(segmentation: *const planrt_segmentation) {
    export!(segmentation; else () => segmentation.cancel());
}

/// Frees the handle. A segmentation that is not answered goes on, with its callbacks, and its memory stays its own until then.
/// Null is accepted.
///
/// Requires: `segmentation` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_segmentation_delete(segmentation: *mut planrt_segmentation) {
    delete!(segmentation);
}
