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
        "The kernel size of this level's convolutions, `[D, H, W]`, odd numbers.",
    ),
    Field::semantic(
        "pool",
        POOL,
        "[2, 2, 2]",
        "The stride from this level to the next, `[D, H, W]`; that of the last level is not used.",
    ),
];

const UNET: &[Field] = &[
    Field::semantic(
        "dims",
        FieldKind::Choice(&["2d", "2.5d", "3d"]),
        "\"2.5d\"",
        "The levels whose kernels reach across slices: none (`2d`), all but the first two (`2.5d`), or all \
         (`3d`). Kernels are 1x3x3 or 3x3x3, pools 1x2x2 or 2x2x2. It is not used if `levels` is a list.",
    ),
    Field::semantic(
        "levels",
        FieldKind::Either(&[
            FieldKind::Integer { min: 1, max: 8 },
            FieldKind::List { of: &FieldKind::Table(LEVEL), len: None },
        ]),
        "5",
        "The resolution levels, the full resolution included: their number, if `dims` and `channels` \
         describe them, or a list of up to 8 tables, e.g. `[{ channels = 16, kernel = [1, 3, 3], pool = [1, \
         2, 2] }, …]`.",
    ),
    Field::semantic(
        "channels",
        FieldKind::Either(&[
            FieldKind::Integer { min: 1, max: 512 },
            FieldKind::List { of: &FieldKind::Integer { min: 1, max: 4096 }, len: None },
        ]),
        "16",
        "The numbers of feature channels: with a number n, level l (from 1 on) has n * l channels; a list \
         has a number for each level. It is not used if `levels` is a list.",
    ),
    Field::semantic(
        "attention",
        FieldKind::Choice(&["off", "gate", "unsupervised", "supervised"]),
        "\"off\"",
        "The kind of attention maps: none (`off`); `gate`, where features from below weight the skip \
         connection of each level (Oktay et al. 2018); `unsupervised`, where the decoder's features weight \
         themselves (Wang et al. 2019); or `supervised`, the same with a loss that compares these maps with \
         the foreground.",
    ),
    Field::semantic(
        "variant",
        FieldKind::Choice(&["paper", "vs_seg", "vnet", "residual"]),
        "\"paper\"",
        "The construction of levels and of the steps between them: `paper` has max pooling down and \
         transposed convolutions up; `vs_seg`, as the code KCL-BMEIS/VS_Seg, has residual levels, strided \
         convolutions down and up, dropout, and attention at the bottleneck as well; `vnet` (Milletari et \
         al. 2016) has residual levels of `convolutions`, and strided convolutions down and up; `residual` \
         (after Yu et al. 2017) adds skip connections instead of concatenating them, and has heads on \
         coarser levels.",
    ),
    open(
        "dropout",
        FieldKind::Number { min: 0.0, max: 0.9, unit: "" },
        "The share of features that dropout sets to 0 after each norm in training; when it is left out, it \
         is 0 for `paper` and 0.1 for `vs_seg`.",
    ),
    open(
        "map_pooling",
        FieldKind::Choice(&["average", "maximum"]),
        "The pooling by which the foreground is brought to the resolution of a supervised map; when it is \
         left out, it is `average` for `paper` and `maximum` for `vs_seg`.",
    ),
    open(
        "map_loss",
        FieldKind::Choice(&["segmentation", "dice"]),
        "The loss of supervised maps: that of the segmentation (`segmentation`), or soft Dice (`dice`); when \
         it is left out, it is `segmentation` for `paper` and `dice` for `vs_seg`.",
    ),
    open(
        "kernel",
        FieldKind::Integer { min: 1, max: 15 },
        "The length of kernels along the axes on which a level is not 1 voxel wide, an odd number; 3 when it \
         is left out. It is not used if `levels` is a list.",
    ),
    open(
        "convolutions",
        FieldKind::List { of: &FieldKind::Integer { min: 1, max: 8 }, len: None },
        "The number of convolutions in each level of a `vnet`, the same down and up; when it is left out, \
         the first level has 1, the second 2, and all others 3.",
    ),
    open(
        "norm",
        FieldKind::Choice(&["batch", "group", "none"]),
        "The normalisation in a `vnet` or `residual`: over the batch (`batch`), over groups of channels \
         (`group`: eight groups, or as many as divide the channels), or none; `batch` when it is left out.",
    ),
    open(
        "head",
        FieldKind::Choice(&["point", "level"]),
        "The last layers of a `vnet`, which give the logits: a 1x1x1 convolution (`point`), or a convolution \
         with the kernel of the finest level before it (`level`, as published); `point` when it is left out.",
    ),
    open(
        "heads",
        FieldKind::List { of: &FieldKind::Number { min: 0.0, max: 1000.0, unit: "" }, len: None },
        "The weights of the losses of the heads that a `residual` has on coarser levels, the finest of these \
         first; only training uses these heads (deep supervision). `[0.4, 0.2]` when it is left out.",
    ),
];

const ATTENTION: &[Field] = &[
    Field::semantic(
        "at",
        FieldKind::Choice(&["rpn", "rcnn"]),
        "\"rpn\"",
        "The features that attention weights: the levels P2 to P5 of the pyramid, on which the proposals and \
         the heads depend (`rpn`), or the features of each region (`rcnn`).",
    ),
    Field::semantic(
        "channel",
        FieldKind::Bool,
        "true",
        "Whether channels are weighted, before pixels are \
                                                         (channel attention).",
    ),
    Field::semantic("spatial", FieldKind::Bool, "true", "Whether pixels are weighted (spatial attention)."),
    Field::semantic(
        "scale",
        FieldKind::Choice(&["area", "literal"]),
        "\"area\"",
        "The scale of the logits of spatial attention: `literal` sums over all pixels as the paper writes \
         it, so that one image soon has all the weight; `area` divides the sum by the number of pixels.",
    ),
    Field::semantic(
        "reduction",
        FieldKind::Integer { min: 1, max: 4096 },
        "16",
        "The factor by which the hidden layer of channel attention is narrower than the pyramid.",
    ),
];

const LENGTH: FieldKind = FieldKind::Integer { min: 1, max: 8192 };

const SCALE: &[Field] = &[
    Field::required("shorter", LENGTH, "The greatest length of the shorter side, in pixels."),
    Field::required("longer", LENGTH, "The greatest length of the longer side, in pixels."),
];

const COUNT: FieldKind = FieldKind::Integer { min: 1, max: 100_000 };

const RCNN: &[Field] = &[
    Field::semantic(
        "backbone",
        FieldKind::Choice(&["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vgg16"]),
        "\"resnet50\"",
        "The network that gives the features: a residual network with a feature pyramid, or `vgg16`, which \
         has no pyramid and no norms but one map of an eighth of the image's resolution, with anchors of all \
         sizes at each place (Yan et al. 2018).",
    ),
    Field::semantic(
        "width",
        FieldKind::Integer { min: 1, max: 1024 },
        "64",
        "The number of channels of the backbone's first stage.",
    ),
    Field::semantic(
        "norm",
        FieldKind::Choice(&["frozen", "batch", "group"]),
        "\"group\"",
        "The normalisation after the backbone's convolutions: over the batch (`batch`), over groups of \
         channels (`group`), or a batch norm whose numbers are all fixed (`frozen`), for weights that were \
         trained elsewhere.",
    ),
    Field::semantic(
        "pyramid",
        FieldKind::Integer { min: 1, max: 4096 },
        "256",
        "The number of channels of the pyramid; with `vgg16`, that of the layer from which regions are \
         proposed.",
    ),
    Field::semantic(
        "hidden",
        FieldKind::Integer { min: 1, max: 65536 },
        "1024",
        "The number of features in each of the head's two fully connected layers.",
    ),
    Field::semantic(
        "anchors",
        FieldKind::List { of: &FieldKind::Number { min: 1.0, max: 4096.0, unit: "" }, len: Some(5) },
        "[32.0, 64.0, 128.0, 256.0, 512.0]",
        "The sizes of anchors in pixels, one for each of the levels P2 to P6; each size comes in three \
         shapes, with a ratio of height to width of 0.5, 1 and 2.",
    ),
    Field::semantic(
        "anchor_samples",
        COUNT,
        "256",
        "The number of anchors of an image that are drawn for the losses of a step; at most half of them \
         belong to instances.",
    ),
    Field::semantic(
        "region_samples",
        COUNT,
        "512",
        "The number of regions of an image that are drawn for the losses of a step; at most a quarter of \
         them belong to instances.",
    ),
    Field::semantic(
        "proposals",
        FieldKind::List { of: &COUNT, len: Some(2) },
        "[2000, 1000]",
        "The greatest number of proposed regions of an image, for each level and in all: the first number in \
         training, the second in inference.",
    ),
    Field::semantic(
        "beta",
        FieldKind::Number { min: 1e-6, max: 1000.0, unit: "" },
        "0.1111111111111111",
        "The difference up to which the head's smooth L1 loss is quadratic.",
    ),
    open(
        "scale",
        FieldKind::Table(SCALE),
        "The size to which images are scaled for the network, by linear interpolation: the largest for which \
         the shorter side has at most `shorter` and the longer side at most `longer` pixels; when it is left \
         out, images are not scaled.",
    ),
    open(
        "head",
        FieldKind::Choice(&["fc", "rfcn", "context"]),
        "The head that predicts the classes and boxes of regions: fully connected layers over the features \
         of a region (`fc`); with `vgg16` also position-sensitive maps, each channel of which is for one \
         place of a region (`rfcn`, Dai et al. 2016), and such maps of all stacks of a bag, followed by a \
         fully connected layer (`context`: 3DCE, Yan et al. 2018); `fc` when it is left out.",
    ),
    open(
        "deformable",
        FieldKind::Bool,
        "Whether the 3x3 convolutions of all stages but the first are deformable (Dai et al. 2017); when it is left out, they are not.",
    ),
    open(
        "masks",
        FieldKind::Bool,
        "Whether each instance gets a mask beside its box (Mask R-CNN, He et al. 2017), for `paint`; when it \
         is left out, there are only boxes.",
    ),
    open(
        "mask_channels",
        FieldKind::Integer { min: 1, max: 4096 },
        "The number of channels of the head for masks; 256 when it is left out.",
    ),
    open(
        "attention",
        FieldKind::Table(ATTENTION),
        "The settings of volumetric attention to the other stacks of a bag (Wang et al., MICCAI 2019); when \
         it is left out, there is none.",
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
