//! The arithmetic of `AdamW` on one row, in the order in which torch does it.

/// The settings of a step, as `torch.optim.AdamW` names them.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// The learning rate.
    pub lr: f64,
    /// What stays of the first moment.
    pub beta1: f64,
    /// What stays of the second moment.
    pub beta2: f64,
    /// What is added to the root of the second moment.
    pub eps: f64,
    /// Which step this is, counted from 1.
    pub step: f64,
}

/// A row and its moments, equally long.
pub(super) struct State<'a> {
    pub(super) param: &'a mut [f32],
    pub(super) exp_avg: &'a mut [f32],
    pub(super) exp_avg_sq: &'a mut [f32],
}

/// The settings as float32, worked out in float64 as torch does.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    new1: f32,
    beta2: f32,
    new2: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
}

impl AdamW {
    /// What the rows of a step have in common.
    pub(super) fn factors(&self) -> Factors {
        Factors {
            new1: narrow(1.0 - self.beta1),
            beta2: narrow(self.beta2),
            new2: narrow(1.0 - self.beta2),
            step_size: narrow(self.lr / (1.0 - self.beta1.powf(self.step))),
            root_correction: narrow((1.0 - self.beta2.powf(self.step)).sqrt()),
            eps: narrow(self.eps),
        }
    }
}

impl Factors {
    /// Takes a step; no gradient is a gradient of zero.
    pub(super) fn step(self, state: &mut State<'_>, gradient: Option<&[f32]>) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "the same loop, compiled for AVX2")]
            // SAFETY: the processor has AVX2; nothing else is asked of the caller.
            unsafe {
                with_avx2(self, state, gradient);
            }
            return;
        }
        on_row(self, state, gradient);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2(factors: Factors, state: &mut State<'_>, gradient: Option<&[f32]>) {
    on_row(factors, state, gradient);
}

/// Loops and no closures: a closure would be compiled without the vector instructions of the caller.
#[expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled without the vector instructions of its caller"
)]
#[inline(always)]
fn on_row(factors: Factors, state: &mut State<'_>, gradient: Option<&[f32]>) {
    let moments = state.exp_avg.iter_mut().zip(state.exp_avg_sq.iter_mut());
    let elements = state.param.iter_mut().zip(moments);
    if let Some(gradient) = gradient {
        for ((param, (first, second)), &given) in elements.zip(gradient) {
            on_element(factors, param, first, second, given);
        }
    } else {
        for (param, (first, second)) in elements {
            on_element(factors, param, first, second, 0.0);
        }
    }
}

/// Without fused multiplication: all processors give the same bits.
#[expect(clippy::inline_always, reason = "see `on_row`")]
#[expect(clippy::suboptimal_flops, reason = "see above")]
#[inline(always)]
fn on_element(
    factors: Factors,
    param: &mut f32,
    exp_avg: &mut f32,
    exp_avg_sq: &mut f32,
    gradient: f32,
) {
    let first = *exp_avg + factors.new1 * (gradient - *exp_avg);
    // Numbers below the normal ones take a hundred times as long, and such a moment moves nothing.
    *exp_avg = if first.abs() < f32::MIN_POSITIVE {
        0.0
    } else {
        first
    };
    *exp_avg_sq = factors.beta2 * *exp_avg_sq + factors.new2 * gradient * gradient;
    let root = exp_avg_sq.sqrt() / factors.root_correction + factors.eps;
    *param -= factors.step_size * *exp_avg / root;
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "float32 is what the weights are"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A weight and its moments, as bits.
    type Element = [u32; 3];

    /// Steps on 37 elements (no multiple of a vector), with a gradient in every other step.
    fn steps(step: impl Fn(Factors, &mut State<'_>, Option<&[f32]>)) -> Vec<Element> {
        let gradient: Vec<f32> = (0_u16..37).map(|i| (f32::from(i) - 18.0) / 7.0).collect();
        let mut param: Vec<f32> = gradient.iter().map(|g| g * g - 1.0).collect();
        let (mut exp_avg, mut exp_avg_sq) = (vec![0.0; 37], vec![0.0; 37]);
        for number in 1_u8..60 {
            let adamw = AdamW {
                lr: 3e-4,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                step: f64::from(number),
            };
            let mut state = State {
                param: &mut param,
                exp_avg: &mut exp_avg,
                exp_avg_sq: &mut exp_avg_sq,
            };
            let given = (number % 2 == 1).then_some(&gradient[..]);
            step(adamw.factors(), &mut state, given);
        }
        let moments = exp_avg.iter().zip(&exp_avg_sq);
        let elements = param.iter().zip(moments);
        elements
            .map(|(param, (first, second))| [param, first, second].map(|value| value.to_bits()))
            .collect()
    }

    #[test]
    fn a_processor_without_avx2_gives_the_same_bits() {
        assert_eq!(steps(Factors::step), steps(on_row));
    }
}
