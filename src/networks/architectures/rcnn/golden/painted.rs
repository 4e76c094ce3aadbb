//! Masks against torchvision, in double precision.

use super::*;
use crate::networks::sample::PlaneMask;

const IMAGE: [i64; 2] = [64, 96];

fn masked() -> RcnnConfig {
    RcnnConfig { mask_channels: Some(6), ..config() }
}

/// The pixels whose middles lie in the ellipse that fills a box of whole numbers.
fn ellipse([x1, y1, x2, y2]: Box2) -> PlaneMask {
    let (start, size) = ([y1 as usize, x1 as usize], [(y2 - y1) as usize, (x2 - x1) as usize]);
    let from_middle =
        |place: usize, low: f64, high: f64| (place as f64 + 0.5 - (low + high) / 2.0) / ((high - low) / 2.0);
    let inside = |row: usize, column: usize| {
        from_middle(start[0] + row, y1, y2).powi(2) + from_middle(start[1] + column, x1, x2).powi(2) <= 1.0
    };
    let pixels = (0..size[0]).flat_map(|row| (0..size[1]).map(move |column| inside(row, column))).collect();
    PlaneMask { start, size, pixels }
}

fn masked_truths() -> Vec<Truth> {
    let with_masks = |truth: Truth| {
        let masks = truth.boxes.iter().map(|bounds| TruthMask::new(ellipse(*bounds), IMAGE)).collect();
        Truth { masks, ..truth }
    };
    truths().into_iter().map(with_masks).collect()
}

#[test]
fn what_masks_are_told_and_said_are_torchvisions() {
    set_threads(1);
    let golden = Golden::read("more");
    let mask = TruthMask::new(ellipse([10.0, 12.0, 30.0, 40.0]), IMAGE);
    let regions = [
        [8.0, 10.0, 33.0, 45.0],
        [-5.0, 3.0, 20.5, 41.25],
        [50.0, 5.0, 95.0, 33.0],
        [12.0, 14.0, 13.0, 14.5],
    ];
    let planes: Vec<f64> = regions.iter().flat_map(|region| mask.in_region(*region)).collect();
    near("project", &planes, &golden.numbers("project"), 1e-12);
    let network = Rcnn::new(&masked()).unwrap();
    let weights = weighed(network.layout());
    let regions = uniform("regions.of.masks", &[2, 8, 14, 14]);
    let said = tch::no_grad(|| network.masks.as_ref().unwrap().forward(&weights, &regions)).unwrap();
    near("head", &numbers::of(&said).unwrap(), &golden.numbers("head"), 1e-10);
}

#[test]
fn a_step_of_training_with_masks_is_torchvisions_loss_by_loss() {
    set_threads(1);
    let golden = Golden::read("more");
    let network = Rcnn::new(&masked()).unwrap();
    let weights = weighed(network.layout());
    let images = uniform("images", &[3, 3, 64, 96]);
    let mode = Mode::Train { momentum: 0.1, draw: 0 };
    let Losses { losses, .. } = network.losses(&weights, &images, &masked_truths(), (1, 0), mode).unwrap();
    let names = ["loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"];
    assert_eq!((losses.len(), network.told_by()), (names.len(), &LOSSES[..]));
    for (name, loss) in names.iter().zip(&losses) {
        let expected = golden.header["losses"][name].as_f64().unwrap();
        near(name, &numbers::of(loss).unwrap(), &[expected], 1e-8);
    }
    compare_gradients(&network, &weights, &losses, &golden);
    // A mask for each thing, or none is learned.
    let refused = network.losses(&weights, &images, &truths(), (1, 0), mode).err().unwrap();
    assert!(refused.to_string().contains("a mask for each of 3 things"), "{refused}");
    // Where nothing is to be found the heads have gradients of zeros, and the step is one all the same.
    let nothing = [Truth::default(), Truth::default(), Truth::default()];
    let losses = network.losses(&weights, &images, &nothing, (1, 0), mode).unwrap().losses;
    assert_eq!(numbers::of(&losses[4]).unwrap(), [0.0]);
}

#[test]
fn masks_that_are_found_are_torchvisions_to_the_pixel() {
    set_threads(1);
    let golden = Golden::read("more");
    let network = Rcnn::new(&masked()).unwrap();
    let weights = weighed(network.layout());
    let images = uniform("images", &[3, 3, 64, 96]).narrow(0, 0, 2);
    let find = || network.find_whole(&weights, &images, &FindOptions::default(), Mode::Infer);
    for (place, found) in tch::no_grad(find).unwrap().into_iter().enumerate() {
        let rows: Vec<f64> = found
            .iter()
            .flat_map(|found| found.bounds.into_iter().chain([found.score, f64::from(found.class)]))
            .collect();
        near("found", &rows, &golden.numbers(&format!("found.{place}")), 1e-8);
        let bits: Vec<f64> =
            found.iter().take(3).flat_map(|found| pixels(found.mask.as_ref().unwrap())).collect();
        assert_eq!(bits, golden.numbers(&format!("pasted.bits.{place}")));
    }
}

#[test]
fn masks_that_hold_something_are_torchvisions_to_the_pixel() {
    set_threads(1);
    let golden = Golden::read("painted");
    let network = Rcnn::new(&masked()).unwrap();
    // What the last layer says of masks is on either side of nothing, as in the script.
    let louder = |name: &str, tensor: &Tensor| match name {
        "roi_heads.mask_predictor.mask_fcn_logits.weight" => tensor.detach() * 40.0,
        "roi_heads.mask_predictor.mask_fcn_logits.bias" => tensor.detach() * 40.0 + 1.0,
        _ => tensor.detach(),
    };
    let plain = weighed(network.layout());
    let named = plain.named().map(|(name, tensor)| (name.to_owned(), louder(name, tensor))).collect();
    let weights = Weights::from_named(network.layout(), named, Device::CPU).unwrap();
    let images = uniform("images", &[3, 3, 64, 96]).narrow(0, 0, 2);
    let places = numbers::of(&uniform("pasted", &[64, 96])).unwrap();
    let find = || network.find_whole(&weights, &images, &FindOptions::default(), Mode::Infer);
    for (place, found) in tch::no_grad(find).unwrap().into_iter().enumerate() {
        let bits: Vec<Vec<f64>> = found.iter().map(|found| pixels(found.mask.as_ref().unwrap())).collect();
        let counts: Vec<f64> = bits.iter().map(|bits| bits.iter().sum()).collect();
        assert_eq!(counts, golden.numbers(&format!("count.{place}")));
        assert!(counts.iter().filter(|count| **count > 0.0).count() > 90);
        // Pixels are told apart by what each is worth.
        let worth = |bits: &Vec<f64>| bits.iter().zip(&places).map(|(bit, worth)| bit * worth).sum();
        let sums: Vec<f64> = bits.iter().map(worth).collect();
        near("sum", &sums, &golden.numbers(&format!("sum.{place}")), 1e-9);
        let most = golden.places(&format!("most.{place}"));
        let most: Vec<f64> = most.into_iter().flat_map(|number| bits[number].clone()).collect();
        assert_eq!(most, golden.numbers(&format!("bits.{place}")));
    }
}

fn pixels(mask: &PlaneMask) -> Vec<f64> {
    let [height, width] = IMAGE.map(|length| length as usize);
    (0..height * width).map(|pixel| f64::from(u8::from(mask.holds([pixel / width, pixel % width])))).collect()
}

#[test]
fn masks_are_pasted_as_torchvision_does() {
    let golden = Golden::read("more");
    let shares = numbers::of(&uniform("to.paste", &[4, 1, 28, 28])).unwrap();
    let boxes =
        [[3.2, 4.7, 30.9, 50.1], [-8.5, -3.0, 12.0, 9.5], [70.0, 40.0, 110.5, 90.0], [5.0, 5.0, 5.2, 5.3]];
    let pasted: Vec<f64> = boxes
        .iter()
        .zip(shares.chunks_exact(28 * 28))
        .flat_map(|(bounds, shares)| pixels(&masks::pasted(shares, *bounds, IMAGE)))
        .collect();
    assert_eq!(pasted, golden.numbers("paste"));
    // Off the image nothing is left.
    let off = masks::pasted(&shares[..784], [-40.0, 3.0, -20.0, 9.0], IMAGE);
    assert!(off.pixels.is_empty());
}

#[test]
fn masks_come_back_from_the_size_that_images_are_shown_in() {
    set_threads(1);
    let scale = Some(config::ImageScale { shorter: 128, longer: 1000 });
    let network = Rcnn::new(&RcnnConfig { scale, ..masked() }).unwrap();
    let weights = weighed(network.layout());
    let images = uniform("images", &[1, 3, 64, 96]);
    let find = || network.find_whole(&weights, &images, &FindOptions::default(), Mode::Infer);
    for found in tch::no_grad(find).unwrap().remove(0) {
        let mask = found.mask.unwrap();
        let ends = [0, 1].map(|axis| (mask.start[axis] + mask.size[axis]) as i64);
        assert!(ends[0] <= IMAGE[0] && ends[1] <= IMAGE[1], "{mask:?}");
        // The mask lies around its box on the image as it was.
        let [x1, y1, x2, y2] = found.bounds;
        assert!((mask.start[0] as f64 - y1).abs() < 4.0 && (ends[1] as f64 - x2).abs() < 4.0, "{x1} {y2}");
    }
    // A truth of twice the pixels is the same truth.
    let mask = TruthMask::new(ellipse([10.0, 12.0, 30.0, 40.0]), IMAGE);
    let twice = mask.shown([128, 192]);
    let (plain, shown) = (mask.in_region([8.0, 10.0, 36.0, 38.0]), twice.in_region([16.0, 20.0, 72.0, 76.0]));
    let off = plain.iter().zip(&shown).map(|(a, b)| (a - b).abs()).sum::<f64>() / 784.0;
    assert!(off < 0.03, "{off}");
}

#[test]
fn attention_at_the_regions_has_a_module_for_masks() {
    set_threads(1);
    let config = RcnnConfig { mask_channels: Some(6), ..attentive(At::Rcnn, Scale::Area) };
    let network = Rcnn::new(&config).unwrap();
    assert_eq!(network.attends(), ["regions", "masks"]);
    let weights = Weights::seeded(network.layout(), 3, Kind::Double, Device::CPU).unwrap();
    let bags = uniform("bags", &[1, 15, 64, 96]);
    let mode = Mode::Train { momentum: 0.1, draw: 0 };
    let truth = masked_truths().remove(0);
    for truth in [truth, Truth::default()] {
        let Losses { losses, spread } = network.losses(&weights, &bags, &[truth], (1, 2), mode).unwrap();
        assert_eq!(spread.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["regions", "masks"]);
        let whole = losses.iter().fold(Tensor::from(0.0), |sum, loss| sum + loss);
        assert!(numbers::of(&weights.gradient(&whole).unwrap()).unwrap().iter().all(|n| n.is_finite()));
    }
}

#[test]
fn mask_rcnn_has_torchvisions_parameters_by_their_names() {
    let golden = Golden::read("rcnn");
    let whole = RcnnConfig {
        backbone: Backbone::Resnet50,
        width: 64,
        classes: 91,
        pyramid: 256,
        hidden: 1024,
        norm: Norm::Batch,
        mask_channels: Some(256),
        ..config()
    };
    let network = Rcnn::new(&whole).unwrap();
    assert_eq!(Some(network.layout().parameter_count()), golden.header["parameters"]["mask"].as_i64());
    let network = Rcnn::new(&RcnnConfig { width: 1, backbone: Backbone::Resnet50, ..masked() }).unwrap();
    let weights = Weights::seeded(network.layout(), 1, Kind::Float, Device::CPU).unwrap();
    let mut own: Vec<&str> = weights.named().map(|(name, _)| name).collect();
    own.sort_unstable();
    let names: Vec<String> = serde_json::from_value(golden.header["names"].clone()).unwrap();
    assert_eq!(own, names);
}
