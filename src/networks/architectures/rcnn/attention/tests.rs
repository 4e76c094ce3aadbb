use tch::Device as Place;

use super::super::config::At;
use super::*;
use crate::networks::Device;

fn wanted(channel: bool, spatial: bool, scale: Scale) -> VolumetricAttention {
    VolumetricAttention { at: At::Rpn, channel, spatial, scale, reduction: 2 }
}

/// Makes numbers `(index * by mod of - less) / over`, in the order of the axes.
fn pattern(shape: &[i64], [by, of, less, over]: [i64; 4]) -> Tensor {
    let count: i64 = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| ((i * by % of) - less) as f64 / over as f64).collect();
    Tensor::from_slice(&values).view(shape)
}

/// A module of 4 channels with the weights of the worked example.
fn example(wanted: &VolumetricAttention) -> (Attention, Weights) {
    let mut layout = Layout::default();
    let module = Attention::new(&mut layout, "attention", 4, wanted);
    let weights = Weights::seeded(&layout, 1, Kind::Double, Device::CPU).unwrap();
    let value = |name: &str| match name {
        "attention.channel.squeeze.weight" => pattern(&[2, 4], [5, 7, 3, 7]),
        "attention.channel.embed.weight" => pattern(&[2, 2], [3, 5, 2, 5]),
        "attention.channel.excite.weight" => pattern(&[4, 2], [3, 7, 3, 7]),
        "attention.spatial.embed.weight" => pattern(&[1, 2, 7, 7], [3, 11, 5, 11]),
        "attention.spatial.excite.weight" => Tensor::from_slice(&[0.7]),
        _ => Tensor::from_slice(&[0.0]),
    };
    let named = weights.named().map(|(name, _)| (name.to_owned(), value(name))).collect();
    (module, Weights::from_named(&layout, named, Device::CPU).unwrap())
}

fn images() -> Tensor {
    pattern(&[3, 4, 2, 2], [7, 13, 0, 13])
}

fn attended(module: &Attention, weights: &Weights, images: &Tensor) -> Attended {
    let keys = module.keys(weights, images).unwrap();
    module.attend(weights, &images.narrow(0, images.size()[0] / 2, 1), &keys).unwrap()
}

fn sum(x: &Tensor) -> f64 {
    f64::try_from(x.sum(Kind::Double)).unwrap()
}

/// The weights that the images of a bag have.
fn shares(query: &Tensor, keys: &Tensor, divisor: f64) -> Vec<f64> {
    let logits = (query * keys).sum_dim_intlist([1].as_slice(), false, Kind::Double) / divisor;
    Vec::try_from(logits.softmax(0, Kind::Double)).unwrap()
}

fn near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < 1e-11, "{found:?} for {expected:?}");
}

#[test]
fn a_worked_example_of_channels_and_pixels() {
    let images = images();
    let (module, weights) = example(&wanted(true, false, Scale::Literal));
    let keys = module.keys(&weights, &images).unwrap().channel.unwrap();
    near(&shares(&keys.narrow(0, 1, 1), &keys, 1.0), &[0.333292746342, 0.333353626829, 0.333353626829]);
    let refined = attended(&module, &weights, &images).features;
    near(&[sum(&refined)], &[3.728710176337]);
    let factor = (&refined / images.narrow(0, 1, 1)).amax([2, 3].as_slice(), false).reshape([-1]);
    near(
        &Vec::<f64>::try_from(factor).unwrap(),
        &[0.499568262679, 0.500143912472, 0.499712175079, 0.499280438115],
    );

    let (both, weights) = example(&wanted(true, true, Scale::Literal));
    let found = attended(&both, &weights, &images);
    near(&[sum(&found.features)], &[2.156137188430]);
    let keys = both.keys(&weights, &images).unwrap().spatial.unwrap();
    let query = embedded(&refined, weights.get(both.spatial.unwrap()[0])).unwrap();
    near(&shares(&query, &keys, 1.0), &[0.318526465998, 0.321166517325, 0.360307016677]);
    let factor = (&found.features / &refined).amax([1].as_slice(), false).reshape([-1]);
    near(
        &Vec::<f64>::try_from(factor).unwrap(),
        &[0.609447918387, 0.543039589944, 0.610576727705, 0.537645957470],
    );

    let (pixels, weights) = example(&wanted(false, true, Scale::Area));
    near(&[sum(&attended(&pixels, &weights, &images).features)], &[4.312904171937]);
    let keys = pixels.keys(&weights, &images).unwrap().spatial.unwrap();
    near(&shares(&keys.narrow(0, 1, 1), &keys, 4.0), &[0.325973061899, 0.327315591913, 0.346711346188]);
}

#[test]
fn alike_images_take_part_alike_and_their_order_says_nothing() {
    for scale in [Scale::Area, Scale::Literal] {
        let (module, weights) = example(&wanted(true, true, scale));
        let images = images();
        let alike = images.narrow(0, 1, 1).expand([5, 4, 2, 2], true);
        let found = attended(&module, &weights, &alike);
        found.spread.iter().for_each(|spread| near(&[spread.unwrap()], &[1.0]));
        // One image alone is all there is to attend to, and five that are alike come to the same.
        let alone = attended(&module, &weights, &images.narrow(0, 1, 1));
        assert!(sum(&(&found.features - &alone.features).abs()) < 1e-12);
        assert_eq!(alone.spread, [Some(1.0), Some(1.0)]);
        let places = Tensor::from_slice(&[2_i64, 1, 0]).to_device(Place::Cpu);
        let turned = attended(&module, &weights, &images.index_select(0, &places));
        let straight = attended(&module, &weights, &images);
        assert!(sum(&(turned.features - &straight.features).abs()) < 1e-12);
        assert!(straight.spread.iter().all(|spread| spread.unwrap() < 1.0));
    }
}

#[test]
fn without_excitement_a_quarter_is_left() {
    let (module, weights) = example(&wanted(true, true, Scale::Area));
    let named = weights.named().map(|(name, tensor)| {
        let value = if name.contains("excite") { tensor.zeros_like() } else { tensor.detach().copy() };
        (name.to_owned(), value.detach())
    });
    let mut layout = Layout::default();
    Attention::new(&mut layout, "attention", 4, &wanted(true, true, Scale::Area));
    let still = Weights::from_named(&layout, named.collect(), Device::CPU).unwrap();
    let images = images();
    let found = attended(&module, &still, &images).features;
    assert!(sum(&(found - images.narrow(0, 1, 1) * 0.25).abs()) < 1e-12);
}
