//! Vectors in few bytes: one signed byte a component, and one scale for all of them.

/// The largest dimension of a vector.
pub(crate) const DIMENSION_MAX: usize = 4_096;
/// The largest code of a stored component.
const CODE_MAX: f32 = 127.0;
/// The largest code of a question's component. With [`CODE_MAX`] and [`DIMENSION_MAX`] a sum of products fits 32 bits.
const QUESTION_CODE_MAX: f32 = 1_023.0;

/// A vector of length 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unit(Vec<f32>);

/// The fault of a vector that an embedder gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VectorFault {
    /// It has no component, or more than [`DIMENSION_MAX`].
    Dimension(usize),
    /// A component is no number, or infinite.
    NotFinite,
    /// All components are zero.
    Zero,
}

impl Unit {
    /// The direction of a vector.
    ///
    /// # Errors
    /// The fault of a vector that has none.
    pub(crate) fn of(mut vector: Vec<f32>) -> Result<Self, VectorFault> {
        if !(1..=DIMENSION_MAX).contains(&vector.len()) {
            return Err(VectorFault::Dimension(vector.len()));
        }
        if !vector.iter().all(|component| component.is_finite()) {
            return Err(VectorFault::NotFinite);
        }
        let length = vector.iter().map(|component| f64::from(*component).powi(2)).sum::<f64>().sqrt();
        if length < f64::from(f32::MIN_POSITIVE) {
            return Err(VectorFault::Zero);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a part of 1")]
        vector.iter_mut().for_each(|component| *component = (f64::from(*component) / length) as f32);
        Ok(Self(vector))
    }

    pub(crate) fn dimension(&self) -> usize {
        self.0.len()
    }

    fn most(&self) -> f32 {
        self.0.iter().fold(f32::MIN_POSITIVE, |most, component| most.max(component.abs()))
    }
}

/// A stored vector of length 1. Each component differs from the true one by half of the scale at most.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Codes {
    pub(crate) codes: Vec<i8>,
    /// The value of the code 1.
    pub(crate) scale: f32,
}

impl Codes {
    pub(crate) fn of(unit: &Unit) -> Self {
        let scale = unit.most() / CODE_MAX;
        #[expect(clippy::cast_possible_truncation, reason = "at most 127")]
        let codes = unit.0.iter().map(|component| (component / scale).round() as i8).collect();
        Self { codes, scale }
    }

    /// The same as one that is looked for.
    pub(crate) fn similarity(&self, other: &Unit) -> f64 {
        QuestionCodes::of(other).similarity(&self.codes, self.scale)
    }
}

/// The vector of a question, with finer steps: its error vanishes beside that of the stored ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QuestionCodes {
    codes: Vec<i16>,
    scale: f32,
}

impl QuestionCodes {
    pub(crate) fn of(unit: &Unit) -> Self {
        let scale = unit.most() / QUESTION_CODE_MAX;
        #[expect(clippy::cast_possible_truncation, reason = "at most 1023")]
        let codes = unit.0.iter().map(|component| (component / scale).round() as i16).collect();
        Self { codes, scale }
    }

    pub(crate) fn dimension(&self) -> usize {
        self.codes.len()
    }

    /// The cosine of the angle to a stored vector of the same dimension, about -1 to 1.
    pub(crate) fn similarity(&self, codes: &[i8], scale: f32) -> f64 {
        f64::from(product(codes, &self.codes)) * f64::from(scale) * f64::from(self.scale)
    }
}

/// The sum of the products. It fits by the bounds above, and does without checks of each step, so that the compiler
/// takes many steps at once.
fn product(stored: &[i8], asked: &[i16]) -> i32 {
    let products = stored.iter().zip(asked).map(|(one, other)| i32::from(*one).wrapping_mul(i32::from(*other)));
    products.fold(0, i32::wrapping_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(a: &Unit, b: &Unit) -> f64 {
        a.0.iter().zip(&b.0).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    proptest! {
        #[test]
        fn a_component_is_off_by_half_a_step_at_most_and_a_similarity_by_little(
            (a, b) in (1_usize..300).prop_flat_map(|n| (
                prop::collection::vec(-1.0_f32..1.0, n), prop::collection::vec(-1.0_f32..1.0, n),
            )),
        ) {
            let (Ok(a), Ok(b)) = (Unit::of(a), Unit::of(b)) else { return Ok(()) };
            let codes = Codes::of(&a);
            for (code, component) in codes.codes.iter().zip(&a.0) {
                let off = (f32::from(*code) * codes.scale - component).abs();
                prop_assert!(off <= codes.scale * 0.501, "{off} of {}", codes.scale);
            }
            // by Cauchy and Schwarz the errors of all components together are at most this
            #[expect(clippy::cast_precision_loss, reason = "a dimension")]
            let bound = (a.dimension() as f64).sqrt() * f64::from(codes.scale) * 0.6;
            let off = (codes.similarity(&b) - exact(&a, &b)).abs();
            prop_assert!(off <= bound, "{off}, at most {bound}");
            prop_assert!((codes.similarity(&a) - 1.0).abs() < 0.02);
        }
    }

    #[test]
    fn the_longest_vectors_do_not_overflow() {
        let all = Unit::of(vec![1.0; DIMENSION_MAX]).unwrap();
        assert!((Codes::of(&all).similarity(&all) - 1.0).abs() < 1e-3);
        let opposite = Unit::of(vec![-1.0; DIMENSION_MAX]).unwrap();
        assert!((Codes::of(&all).similarity(&opposite) + 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_vector_without_a_direction_is_a_fault() {
        assert_eq!(Unit::of(Vec::new()), Err(VectorFault::Dimension(0)));
        assert_eq!(Unit::of(vec![1.0; DIMENSION_MAX + 1]), Err(VectorFault::Dimension(DIMENSION_MAX + 1)));
        assert_eq!(Unit::of(vec![0.0; 3]), Err(VectorFault::Zero));
        assert_eq!(Unit::of(vec![1.0, f32::NAN]), Err(VectorFault::NotFinite));
        assert_eq!(Unit::of(vec![1.0, f32::INFINITY]), Err(VectorFault::NotFinite));
        assert!(Unit::of(vec![f32::MAX; 4]).is_ok() && Unit::of(vec![1e-30; 4]).is_ok());
    }
}
