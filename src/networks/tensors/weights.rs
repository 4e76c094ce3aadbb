//! The numbers of a network: all parameters in one flat tensor and all buffers in another, with a view
//! for each name. An optimizer step is a handful of operations whatever the architecture.

mod flat;
mod frozen;

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::error::Doing;
use crate::networks::NetworkError;
use flat::Flat;
pub(in crate::networks) use flat::Order;
use frozen::Frozen;
pub(in crate::networks) use frozen::begins;

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// The number is everywhere the same.
    Constant(f64),
    /// The numbers are uniform between `-bound` and `bound`.
    Uniform(f64),
    /// The numbers are normal around 0, with this standard deviation.
    Normal(f64),
}

/// A tensor that an architecture asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// The tensor's name, such as `encoder.0.first.weight`.
    pub name: String,
    /// The tensor's lengths along its axes.
    pub shape: Vec<i64>,
    /// How the tensor starts.
    pub init: Init,
}

impl Declared {
    fn count(&self) -> i64 {
        self.shape.iter().product()
    }
}

/// A tensor that is trained, by its place.
#[derive(Clone, Copy, Debug)]
pub struct Parameter(usize);

impl Parameter {
    /// Returns the tensor's place among all parameters.
    pub(in crate::networks) fn place(self) -> usize {
        self.0
    }
}

/// A tensor that training only updates (running statistics), by its place.
#[derive(Clone, Copy, Debug)]
pub struct Buffer(usize);

/// The tensors that an architecture asks for, before any memory is taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    parameters: Vec<Declared>,
    buffers: Vec<Declared>,
}

impl Layout {
    /// Asks for a parameter.
    pub fn parameter(&mut self, name: String, shape: &[i64], init: Init) -> Parameter {
        self.parameters.push(Declared { name, shape: shape.to_vec(), init });
        Parameter(self.parameters.len() - 1)
    }

    /// Asks for a buffer.
    pub fn buffer(&mut self, name: String, shape: &[i64], init: Init) -> Buffer {
        self.buffers.push(Declared { name, shape: shape.to_vec(), init });
        Buffer(self.buffers.len() - 1)
    }

    /// Returns all tensors: parameters, then buffers.
    pub(in crate::networks) fn declared(&self) -> impl Iterator<Item = &Declared> {
        self.parameters.iter().chain(&self.buffers)
    }

    /// Returns how many numbers all parameters have.
    pub fn parameter_count(&self) -> i64 {
        self.parameters.iter().map(Declared::count).sum()
    }
}

/// The numbers of one network on one device.
pub struct Weights {
    parameters: Flat,
    buffers: Flat,
    /// The parameters in fewer bits, where features are to have no more: their gradient is that of the whole numbers.
    rounded: Vec<Tensor>,
    /// What a training leaves as it is.
    frozen: Frozen,
}

impl Weights {
    /// First weights, which depend on the seed alone and not on torch's own random state.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when the memory is refused.
    pub fn seeded(
        layout: &Layout,
        seed: u64,
        kind: Kind,
        device: crate::networks::Device,
    ) -> Result<Self, NetworkError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let parameters = Flat::seeded(layout.parameters.clone(), &mut random, kind, device.0)?;
        let buffers = Flat::seeded(layout.buffers.clone(), &mut random, kind, device.0)?;
        Self::from_flat(layout, parameters, buffers)
    }

    /// Weights from tensors by name, which must be those of the layout, neither more nor fewer.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] that names the first tensor that is missing, left over or of another shape.
    pub fn from_named(
        layout: &Layout,
        mut named: BTreeMap<String, Tensor>,
        device: crate::networks::Device,
    ) -> Result<Self, NetworkError> {
        let order = Order::on(device.0);
        let mut gather = |declared: &[Declared]| -> Result<Tensor, NetworkError> {
            let mut parts = Vec::with_capacity(declared.len());
            for wanted in declared {
                let found = named.remove(&wanted.name);
                let shape = found.as_ref().map(Tensor::size);
                match found {
                    Some(tensor) if tensor.size() == wanted.shape => parts.push(order.laid_out(&tensor)?),
                    _ => {
                        return Err(NetworkError::Shape {
                            what: format!("weights `{}`", wanted.name),
                            expected: format!("{:?}", wanted.shape),
                            found: shape.map_or("none".to_owned(), |shape| format!("{shape:?}")),
                        });
                    }
                }
            }
            if parts.is_empty() {
                return Ok(Tensor::f_zeros([0], (Kind::Float, device.0))?);
            }
            Ok(Tensor::f_cat(&parts, 0)?.f_to_device(device.0)?)
        };
        let parameters = gather(&layout.parameters)?;
        let buffers = gather(&layout.buffers)?;
        if let Some((name, tensor)) = named.first_key_value() {
            return Err(NetworkError::Shape {
                what: format!("weights `{name}`"),
                expected: "no such tensor in this architecture".to_owned(),
                found: format!("{:?}", tensor.size()),
            });
        }
        Self::from_flat(layout, parameters, buffers)
    }

    /// Weights from the two flat tensors of such weights on the same kind of device, which are then theirs.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] when they are too short or too long.
    pub fn from_flat(layout: &Layout, parameters: Tensor, buffers: Tensor) -> Result<Self, NetworkError> {
        for (what, declared, flat) in
            [("parameters", &layout.parameters, &parameters), ("buffers", &layout.buffers, &buffers)]
        {
            let expected: i64 = declared.iter().map(Declared::count).sum();
            if flat.size() != [expected] {
                return Err(NetworkError::Shape {
                    what: what.to_owned(),
                    expected: format!("{expected} numbers"),
                    found: format!("{:?}", flat.size()),
                });
            }
        }
        let order = Order::on(parameters.device());
        Ok(Self {
            parameters: Flat::new(layout.parameters.clone(), parameters, order, true)?,
            buffers: Flat::new(layout.buffers.clone(), buffers, order, false)?,
            rounded: Vec::new(),
            frozen: Frozen::default(),
        })
    }

    /// Weights that are not trained any more, from the values of all parameters in their order; without running
    /// statistics.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when the memory is refused, or a value has another shape.
    pub(in crate::networks) fn fixed(
        layout: &Layout,
        values: &[Tensor],
        device: tch::Device,
    ) -> Result<Self, NetworkError> {
        let order = Order::on(device);
        let numbers: Result<Vec<Tensor>, _> = values.iter().map(|value| order.laid_out(value)).collect();
        let parameters = Tensor::f_cat(&numbers?, 0)?;
        let buffers = Tensor::f_zeros([0], (parameters.kind(), parameters.device()))?;
        Ok(Self {
            parameters: Flat::new(layout.parameters.clone(), parameters, order, false)?,
            buffers: Flat::new(Vec::new(), buffers, order, false)?,
            rounded: Vec::new(),
            frozen: Frozen::default(),
        })
    }

    /// The same numbers of another kind, lying as they do, not trained any more; without running statistics.
    pub(in crate::networks) fn to_kind(&self, kind: Kind) -> Result<Self, NetworkError> {
        let Flat { declared, flat, order, .. } = &self.parameters;
        let buffers = Tensor::f_zeros([0], (kind, flat.device()))?;
        Ok(Self {
            parameters: Flat::new(declared.clone(), flat.f_to_kind(kind)?, *order, false)?,
            buffers: Flat::new(Vec::new(), buffers, *order, false)?,
            rounded: Vec::new(),
            frozen: Frozen::default(),
        })
    }

    /// The same numbers, of which convolutions see this kind: for a step of training, whose gradient is that of the
    /// whole numbers.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when the memory is refused.
    pub(in crate::networks) fn rounded(&self, kind: Kind) -> Result<Self, NetworkError> {
        let views = self.parameters.views.iter().map(|view| view.f_to_kind(kind));
        let rounded = views.collect::<Result<_, _>>()?;
        let (parameters, buffers) = (self.parameters.shared(), self.buffers.shared());
        Ok(Self { parameters, buffers, rounded, frozen: self.frozen.shared() })
    }

    /// The values of all parameters, in their order.
    pub(in crate::networks) fn values(&self) -> Vec<Tensor> {
        self.parameters.views.iter().map(Tensor::shallow_clone).collect()
    }

    /// A trained tensor, of the kind that features have.
    pub fn get(&self, parameter: Parameter) -> &Tensor {
        self.rounded.get(parameter.0).unwrap_or(&self.parameters.views[parameter.0])
    }

    /// A trained tensor of a norm, which keeps all its bits whatever features have.
    pub fn whole(&self, parameter: Parameter) -> &Tensor {
        &self.parameters.views[parameter.0]
    }

    /// A running statistic.
    pub fn buffer(&self, buffer: Buffer) -> &Tensor {
        &self.buffers.views[buffer.0]
    }

    /// Leaves tensors whose names begin so as they are now, whatever steps are taken.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when the memory is refused.
    pub(in crate::networks) fn freeze(
        &mut self,
        layout: &Layout,
        prefixes: &[String],
    ) -> Result<(), NetworkError> {
        self.frozen = Frozen::of(layout, prefixes, &self.parameters.flat)?;
        Ok(())
    }

    /// Whether a running statistic stays as it is: its norm then uses it in training as well.
    pub(in crate::networks) fn is_frozen(&self, buffer: Buffer) -> bool {
        self.frozen.holds_buffer(buffer.0)
    }

    /// Returns what a training leaves as it is.
    pub(in crate::networks) fn frozen(&self) -> &Frozen {
        &self.frozen
    }

    /// Returns all tensors by name.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        [&self.parameters, &self.buffers]
            .into_iter()
            .flat_map(|flat| flat.declared.iter().map(|tensor| tensor.name.as_str()).zip(&flat.views))
    }

    /// Returns all parameters, one after another: written to in place by the optimizer.
    pub fn flat(&self) -> &Tensor {
        &self.parameters.flat
    }

    /// Returns all buffers, one after another.
    pub fn flat_buffers(&self) -> &Tensor {
        &self.buffers.flat
    }

    /// Copies of both flat tensors, parameters first.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when the memory is refused.
    pub fn snapshot(&self) -> Result<(Tensor, Tensor), NetworkError> {
        let copy = |flat: &Tensor| -> Result<Tensor, NetworkError> {
            let mut copy = flat.f_empty_like()?;
            copy.f_copy_(flat)?;
            Ok(copy)
        };
        Ok((copy(&self.parameters.flat)?, copy(&self.buffers.flat)?))
    }

    /// The gradient of a loss, laid out as [`flat`](Self::flat).
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when the loss does not depend on a parameter.
    pub fn gradient(&self, loss: &Tensor) -> Result<Tensor, NetworkError> {
        self.gradient_of(loss, false)
    }

    /// The same; where the loss's graph is kept, that of another one which shares part of it can be asked for.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient).
    pub(in crate::networks) fn gradient_of(&self, loss: &Tensor, keep: bool) -> Result<Tensor, NetworkError> {
        let gradients = Tensor::f_run_backward(&[loss], &self.parameters.views, keep, false)
            .doing("gradient of the loss")?;
        let order = self.parameters.order;
        let flat: Result<Vec<_>, _> = gradients.iter().map(|gradient| order.laid_out(gradient)).collect();
        Ok(Tensor::f_cat(&flat?, 0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::Device;

    fn layout() -> Layout {
        let mut layout = Layout::default();
        layout.parameter("a".to_owned(), &[2, 3], Init::Uniform(0.5));
        layout.parameter("b".to_owned(), &[2], Init::Constant(1.0));
        layout.buffer("mean".to_owned(), &[2], Init::Constant(0.0));
        layout
    }

    #[test]
    fn the_seed_alone_decides() {
        let numbers = |seed| {
            let weights = Weights::seeded(&layout(), seed, Kind::Float, Device::CPU).unwrap();
            Vec::<f32>::try_from(weights.flat()).unwrap()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert!(numbers(7)[..6].iter().all(|value| value.abs() <= 0.5));
        assert_eq!(numbers(7)[6..], [1.0, 1.0]);
    }

    #[test]
    fn normal_numbers_have_their_deviation() {
        let mut layout = Layout::default();
        layout.parameter("a".to_owned(), &[100, 100], Init::Normal(0.5));
        let weights = Weights::seeded(&layout, 7, Kind::Double, Device::CPU).unwrap();
        let numbers = Vec::<f64>::try_from(weights.flat()).unwrap();
        let mean = numbers.iter().sum::<f64>() / 1e4;
        let deviation = (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / 1e4).sqrt();
        assert!(mean.abs() < 0.02 && (deviation - 0.5).abs() < 0.02, "{mean} {deviation}");
        let beyond = numbers.iter().filter(|number| number.abs() > 1.0).count();
        // 4.55 in a hundred lie beyond two deviations.
        assert!((380..530).contains(&beyond), "{beyond}");
    }

    #[test]
    fn views_share_the_flat_tensor() {
        let weights = Weights::seeded(&layout(), 7, Kind::Float, Device::CPU).unwrap();
        let mut flat = weights.flat().shallow_clone();
        let _ = tch::no_grad(|| flat.f_zero_()).unwrap();
        assert_eq!(f64::try_from(weights.get(Parameter(1)).sum(Kind::Double)).unwrap(), 0.0);
    }

    #[test]
    fn tensors_must_be_those_of_the_layout() {
        let weights = Weights::seeded(&layout(), 7, Kind::Float, Device::CPU).unwrap();
        let named = || -> BTreeMap<_, _> {
            weights.named().map(|(name, tensor)| (name.to_owned(), tensor.detach().copy())).collect()
        };
        assert!(Weights::from_named(&layout(), named(), Device::CPU).is_ok());
        let mut missing = named();
        missing.remove("mean");
        let mut left_over = named();
        left_over.insert("c".to_owned(), Tensor::from_slice(&[1f32]));
        let mut other = named();
        other.insert("a".to_owned(), Tensor::from_slice(&[1f32]));
        for (wrong, name) in [(missing, "mean"), (left_over, "`c`"), (other, "`a`")] {
            let error = Weights::from_named(&layout(), wrong, Device::CPU).err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
