//! Words of other programs (MONAI, nnU-Net, Lightning): which field does it here, or that nothing is needed.

/// What other programs call a field, and what it is called here; of several the one that a type has.
pub(super) const FIELDS: &[(&str, &str)] = &[
    ("a_max", "high"),
    ("a_max", "max"),
    ("a_min", "low"),
    ("a_min", "min"),
    ("accumulate_grad_batches", "accumulate"),
    ("accumulation_steps", "accumulate"),
    ("amp", "precision"),
    ("arch", "network"),
    ("architecture", "network"),
    ("asd", "assd"),
    ("average_surface_distance", "assd"),
    ("axcodes", "axes"),
    ("batch_size", "batch"),
    ("bf16", "precision"),
    ("checkpoint_interval", "checkpoint_every"),
    ("data_dir", "path"),
    ("data_root", "path"),
    ("dataroot", "path"),
    ("dsc", "dice"),
    ("early_stopping", "patience"),
    ("fp16", "precision"),
    ("grad_clip", "clip_norm"),
    ("gradient_accumulation_steps", "accumulate"),
    ("gradient_clip_val", "clip_norm"),
    ("hausdorff", "hd95"),
    ("hausdorff_95", "hd95"),
    ("hausdorff_distance", "hd95"),
    ("image_dir", "path"),
    ("inference", "infer"),
    ("interpolation", "order"),
    ("k_folds", "folds"),
    ("labelmap", "label_images"),
    ("labels", "label"),
    ("largest_connected_component", "largest_component"),
    ("loss_fn", "loss"),
    ("loss_function", "loss"),
    ("lr", "learning_rate"),
    ("lr_scheduler", "schedule"),
    ("manual_seed", "seed"),
    ("max_epochs", "epochs"),
    ("max_iterations", "steps"),
    ("max_steps", "steps"),
    ("mha", "images"),
    ("mirror_axes", "flips"),
    ("mixed_precision", "precision"),
    ("mode", "blend"),
    ("mode", "order"),
    ("model_path", "model"),
    ("n_epochs", "epochs"),
    ("n_folds", "folds"),
    ("n_splits", "folds"),
    ("nifti", "images"),
    ("nonzero", "foreground"),
    ("normalise", "zscore"),
    ("normalize", "zscore"),
    ("normalized_surface_dice", "nsd"),
    ("nrrd", "images"),
    ("num_epochs", "epochs"),
    ("num_folds", "folds"),
    ("num_iterations", "steps"),
    ("num_samples", "per_case"),
    ("num_workers", "readers"),
    ("optimiser", "optimizer"),
    ("patch_size", "size"),
    ("patch_size", "size_mm"),
    ("pixdim", "spacing_mm"),
    ("predict", "infer"),
    ("pretrained", "start"),
    ("pretrained_weights", "start"),
    ("random_state", "seed"),
    ("resize", "resample"),
    ("roi", "structures"),
    ("roi_size", "size"),
    ("roi_size", "size_mm"),
    ("root_dir", "path"),
    ("save_interval", "checkpoint_every"),
    ("scheduler", "schedule"),
    ("seg", "dicom_seg"),
    ("spacing", "spacing_mm"),
    ("spatial_size", "size"),
    ("spatial_size", "size_mm"),
    ("surface_dice", "nsd"),
    ("sw_batch_size", "batch"),
    ("target_spacing", "spacing_mm"),
    ("test_time_augmentation", "flips"),
    ("tta", "flips"),
    ("use_amp", "precision"),
    ("val", "validation"),
    ("val_size", "validation"),
    ("val_split", "validation"),
    ("validation_split", "validation"),
    ("wd", "weight_decay"),
];

const AHEAD: &str = "nothing is needed: samples are cut ahead while the device works; `readers` of `train` says by how many threads";
const PRECISION: &str = "`precision` of `train` and of `infer` says it";
const FOLLOWS: &str = "nothing is needed: it follows from the labels and channels of the cases";
const KEPT: &str = "nothing is needed: what was done is kept and not done again, and what is prepared for samples lies in \
                    the store; `keep = true` of an operator keeps its output as well";
const WINDOWS: &str = "`size` of `patches` says how large windows are, and `infer` takes those of its model";
const SIZES: &str = "`size` of `patches` cuts windows, `pad` and `crop` change how large a scan is, and `resample` goes by `spacing_mm`";
const THREADS: &str = "`tomoflow run --threads` says how many threads work at once, and `readers` of `train` how many cut samples";
const DEVICE: &str = "`device` of `[pipeline]` says where networks run: `auto`, `cpu`, `cuda` or `cuda:N`";
const INPUTS: &str = "nothing is needed: `inputs` of a stage says what it takes, and a case has its scan and its labels together";
const UNIT: &str = "nothing is needed: `window` gives 0 to 1, `low` becomes 0 and `high` 1";
const VALIDATED: &str = "nothing is needed: a validation follows each pass over the samples";

/// Words that are no field of any type, or of other types than that in which people write them, and what leads on.
const LEADS: &[(&str, &str)] = &[
    ("a_max", "`high` of `window` says it, or `max` of `clip`"),
    ("a_min", "`low` of `window` says it, or `min` of `clip`"),
    ("accelerator", DEVICE),
    ("amp", PRECISION),
    ("b_max", UNIT),
    ("b_min", UNIT),
    ("batch_size", "`batch` of `train` says it, and that of `infer` for windows"),
    ("bf16", PRECISION),
    ("cache_dir", KEPT),
    ("cache_num", KEPT),
    ("cache_rate", KEPT),
    ("channel_wise", "nothing is needed: each channel of a scan is scaled by its own numbers"),
    ("check_val_every_n_epoch", VALIDATED),
    ("cuda", DEVICE),
    ("fp16", PRECISION),
    ("gpu", DEVICE),
    ("gpus", DEVICE),
    ("image_key", INPUTS),
    ("in_channels", FOLLOWS),
    ("keys", INPUTS),
    ("label_key", INPUTS),
    ("max_epochs", "`epochs` of `train` says it"),
    ("max_workers", THREADS),
    ("mixed_precision", PRECISION),
    ("n_jobs", THREADS),
    ("num_classes", FOLLOWS),
    ("num_threads", THREADS),
    ("num_workers", THREADS),
    ("out_channels", FOLLOWS),
    ("overlap", "`overlap` of `infer` says what share of a window its neighbours have in common"),
    ("patch_size", WINDOWS),
    ("persistent_workers", AHEAD),
    ("pin_memory", AHEAD),
    ("pixdim", "`spacing_mm` of `resample` says it, in the order [D, H, W]"),
    ("prefetch_factor", AHEAD),
    ("roi_size", WINDOWS),
    (
        "shuffle",
        "nothing is needed: each pass over the samples has an order of its own, which follows from `seed`",
    ),
    ("spatial_size", SIZES),
    ("sw_batch_size", "`batch` of `infer` says how many windows go through the network together"),
    ("use_amp", PRECISION),
    ("val_every", VALIDATED),
    ("val_interval", VALIDATED),
];

/// What leads on from a word in small letters, where no field of a type is meant by it.
pub(super) fn leads_on(word: &str) -> Option<&'static str> {
    LEADS.iter().find(|(name, _)| *name == word).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_once_and_in_small_letters() {
        assert!(FIELDS.is_sorted() && LEADS.is_sorted_by_key(|(name, _)| *name));
        let twice = LEADS.windows(2).find(|both| both[0].0 == both[1].0);
        assert_eq!(twice, None);
        let small = |name: &str| {
            name.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter))
        };
        assert!(FIELDS.iter().chain(LEADS).all(|(name, _)| small(name)));
        assert!(leads_on("pin_memory").unwrap().starts_with("nothing is needed"));
        assert_eq!(leads_on("spacing"), None);
    }
}
