//! The fields of a training for its network and its loss.

use crate::networks::losses;
use crate::operators::spec::{Field, FieldKind, Role};

/// A field that came after trainings were first kept: left open it is part of no key.
const fn open(name: &'static str, kind: FieldKind, doc: &'static str) -> Field {
    Field::absent(name, kind, Role::SemanticLater, doc)
}

const KERNEL: FieldKind = FieldKind::List { of: &FieldKind::Integer { min: 1, max: 15 }, len: Some(3) };
const POOL: FieldKind = FieldKind::List { of: &FieldKind::Integer { min: 1, max: 8 }, len: Some(3) };

const LEVEL: &[Field] = &[
    Field::required("channels", FieldKind::Integer { min: 1, max: 4096 }, "The number of feature channels."),
    Field::semantic(
        "kernel",
        KERNEL,
        "[3, 3, 3]",
        "The size of the kernels of this level's convolutions, `[D, H, W]`, odd numbers.",
    ),
    Field::semantic(
        "pool",
        POOL,
        "[2, 2, 2]",
        "The stride to the next level, `[D, H, W]`; that of the last level is not used.",
    ),
];

const UNET: &[Field] = &[
    Field::semantic(
        "dims",
        FieldKind::Choice(&["2d", "2.5d", "3d"]),
        "\"2.5d\"",
        "The levels that see across slices: none, all but the first two, or all. Kernels are 1x3x3 or 3x3x3, pools 1x2x2 or 2x2x2. It is not used where `levels` is a list.",
    ),
    Field::semantic(
        "levels",
        FieldKind::Either(&[
            FieldKind::Integer { min: 1, max: 8 },
            FieldKind::List { of: &FieldKind::Table(LEVEL), len: None },
        ]),
        "5",
        "The levels, full resolution included: a number, made by `dims` and `channels`, or a list of up to 8 tables, e.g. `[{ channels = 16, kernel = [1, 3, 3], pool = [1, 2, 2] }, …]`.",
    ),
    Field::semantic(
        "channels",
        FieldKind::Either(&[
            FieldKind::Integer { min: 1, max: 512 },
            FieldKind::List { of: &FieldKind::Integer { min: 1, max: 4096 }, len: None },
        ]),
        "16",
        "The feature channels: a number n gives level l n * l of them, a list one number for each level. They are not used where `levels` is a list.",
    ),
    Field::semantic(
        "attention",
        FieldKind::Choice(&["off", "gate", "unsupervised", "supervised"]),
        "\"off\"",
        "The kind of attention maps: `gate` weighs what skips a level by what comes from below (Oktay et al. 2018), `unsupervised` the decoder's features by themselves (Wang et al. 2019); `supervised` also compares these maps with the foreground.",
    ),
    Field::semantic(
        "variant",
        FieldKind::Choice(&["paper", "vs_seg", "vnet", "residual"]),
        "\"paper\"",
        "How levels are made and joined: `paper` pools by maximum and deconvolves; `vs_seg`, as KCL-BMEIS/VS_Seg, has residual levels, strided convolutions down and up, dropout, and attention at the bottleneck too; `vnet` (Milletari et al. 2016) has residual levels of `convolutions` and strided convolutions down and up; `residual` (after Yu et al. 2017) adds what skips a level, and has heads on coarser levels.",
    ),
    open(
        "dropout",
        FieldKind::Number { min: 0.0, max: 0.9, unit: "" },
        "The share of features that each training step leaves out after each norm; when it is left out, 0 for `paper` and 0.1 for `vs_seg`.",
    ),
    open(
        "map_pooling",
        FieldKind::Choice(&["average", "maximum"]),
        "How the foreground comes to the resolution of a supervised map; when it is left out, `average` for `paper` and `maximum` for `vs_seg`.",
    ),
    open(
        "map_loss",
        FieldKind::Choice(&["segmentation", "dice"]),
        "The loss of supervised maps: the segmentation's own, or soft Dice; when it is left out, `segmentation` for `paper` and `dice` for `vs_seg`.",
    ),
    open(
        "kernel",
        FieldKind::Integer { min: 1, max: 15 },
        "The length of kernels along the axes that a level sees along, odd; 3 when it is left out. It is not used where `levels` is a list.",
    ),
    open(
        "convolutions",
        FieldKind::List { of: &FieldKind::Integer { min: 1, max: 8 }, len: None },
        "The number of convolutions of each level of a `vnet`, down as up; 1, 2, and 3 for all others, when it is left out.",
    ),
    open(
        "norm",
        FieldKind::Choice(&["batch", "group", "none"]),
        "The norm of a `vnet` or `residual`: over the batch, over groups of channels (eight, or as many as divide them), or none; `batch` when it is left out.",
    ),
    open(
        "head",
        FieldKind::Choice(&["point", "level"]),
        "What gives the logits of a `vnet`: a 1x1x1 convolution, or one with the kernel of the finest level before it (`level`, as published); `point` when it is left out.",
    ),
    open(
        "heads",
        FieldKind::List { of: &FieldKind::Number { min: 0.0, max: 1000.0, unit: "" }, len: None },
        "The weights of the losses of a `residual`'s heads on coarser levels, from the finest of these on, which training alone has; `[0.4, 0.2]` when it is left out.",
    ),
];

const ATTENTION: &[Field] = &[
    Field::semantic(
        "at",
        FieldKind::Choice(&["rpn", "rcnn"]),
        "\"rpn\"",
        "The place of attention: `rpn` weighs the levels P2 to P5 of the pyramid, which proposals and heads are told from; `rcnn` the features of each region.",
    ),
    Field::semantic("channel", FieldKind::Bool, "true", "Whether channels are weighed, before pixels."),
    Field::semantic("spatial", FieldKind::Bool, "true", "Whether pixels are weighed."),
    Field::semantic(
        "scale",
        FieldKind::Choice(&["area", "literal"]),
        "\"area\"",
        "The logits of the spatial part: `literal` sums over all pixels as the paper writes it, by which one image soon has all the weight; `area` divides the sum by their number.",
    ),
    Field::semantic(
        "reduction",
        FieldKind::Integer { min: 1, max: 4096 },
        "16",
        "The factor by which the hidden layer of the channel part is narrower than the pyramid.",
    ),
];

const LENGTH: FieldKind = FieldKind::Integer { min: 1, max: 8192 };

const SCALE: &[Field] = &[
    Field::required("shorter", LENGTH, "The most pixels of the shorter side."),
    Field::required("longer", LENGTH, "The most pixels of the longer side."),
];

const COUNT: FieldKind = FieldKind::Integer { min: 1, max: 100_000 };

const RCNN: &[Field] = &[
    Field::semantic(
        "backbone",
        FieldKind::Choice(&["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vgg16"]),
        "\"resnet50\"",
        "The residual network below the pyramid, or `vgg16`, which has no pyramid and no norms: one map of an eighth of the image's resolution, with anchors of all sizes at each place (Yan et al. 2018).",
    ),
    Field::semantic(
        "width",
        FieldKind::Integer { min: 1, max: 1024 },
        "64",
        "The number of channels of its first stage.",
    ),
    Field::semantic(
        "norm",
        FieldKind::Choice(&["frozen", "batch", "group"]),
        "\"group\"",
        "The norm behind its convolutions: `frozen` is a batch norm whose numbers are all fixed, for weights that were trained elsewhere.",
    ),
    Field::semantic(
        "pyramid",
        FieldKind::Integer { min: 1, max: 4096 },
        "256",
        "The number of channels of the pyramid; with `vgg16` of the layer that regions are proposed from.",
    ),
    Field::semantic(
        "hidden",
        FieldKind::Integer { min: 1, max: 65536 },
        "1024",
        "The number of features of the head's two layers.",
    ),
    Field::semantic(
        "anchors",
        FieldKind::List { of: &FieldKind::Number { min: 1.0, max: 4096.0, unit: "" }, len: Some(5) },
        "[32.0, 64.0, 128.0, 256.0, 512.0]",
        "The sizes of anchors in pixels, one for each of the levels P2 to P6; each comes in three shapes, of height over width 0.5, 1 and 2.",
    ),
    Field::semantic(
        "anchor_samples",
        COUNT,
        "256",
        "The number of anchors of an image that a step takes its losses of, at most half of them of things.",
    ),
    Field::semantic(
        "region_samples",
        COUNT,
        "512",
        "The number of regions of an image that a step takes its losses of, at most a quarter of them of things.",
    ),
    Field::semantic(
        "proposals",
        FieldKind::List { of: &COUNT, len: Some(2) },
        "[2000, 1000]",
        "The most regions of an image, of each level and in all: in training, and afterwards.",
    ),
    Field::semantic(
        "beta",
        FieldKind::Number { min: 1e-6, max: 1000.0, unit: "" },
        "0.1111111111111111",
        "The difference up to which the head's smooth L1 loss is a parabola.",
    ),
    open(
        "scale",
        FieldKind::Table(SCALE),
        "The size in which images are shown to the network, by linear interpolation: as large as leaves the shorter side `shorter` pixels long at most, and the longer one `longer`; when it is left out, images are shown as they come.",
    ),
    open(
        "head",
        FieldKind::Choice(&["fc", "rfcn", "context"]),
        "What tells the classes and boxes of regions: `fc` layers of numbers over a region's features; with `vgg16` also `rfcn`, maps of which each channel is for one place of a region (Dai et al. 2016), and `context`, such maps of all stacks of a bag and a layer of numbers (3DCE, Yan et al. 2018); `fc` when it is left out.",
    ),
    open(
        "deformable",
        FieldKind::Bool,
        "Whether the 3x3 convolutions of all stages but the first are deformable (Dai et al. 2017); when it is left out, they are not.",
    ),
    open(
        "masks",
        FieldKind::Bool,
        "Whether each thing is given a mask beside its box (Mask R-CNN, He et al. 2017), which `paint` puts together; when it is left out, there are boxes alone.",
    ),
    open(
        "mask_channels",
        FieldKind::Integer { min: 1, max: 4096 },
        "The number of channels of the head for masks; 256 when it is left out.",
    ),
    open(
        "attention",
        FieldKind::Table(ATTENTION),
        "Volumetric attention (Wang et al., MICCAI 2019) to the other stacks of a bag; when it is left out, there is none.",
    ),
];

/// The architecture.
pub(super) const NETWORK: Field = Field::semantic(
    "network",
    FieldKind::Tagged(&[("unet", UNET), ("rcnn", RCNN)]),
    r#"{"type":"unet","dims":"2.5d","levels":5,"channels":16,"attention":"off","variant":"paper"}"#,
    "The architecture that is trained.",
);

/// The field for the loss that training minimises.
pub(super) const LOSS: Field =
    Field::semantic("loss", FieldKind::Tagged(losses::FIELDS), r#"{"type":"dice"}"#, losses::DOC);
