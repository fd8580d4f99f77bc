//! The MD5 code itself: vector lanes, fast scalar code, or the plain reference, whichever this machine runs correctly.
//!
//! The fast code is that of a young crate, so nothing of it is used before it has agreed with the reference in this
//! very process; what does not agree is left out, and the log says so.

use std::sync::OnceLock;

use md5::{Digest, Md5};
use md5_many::{Md5Many, Md5State};

/// Widest register used: 16 lanes of 32 bits (AVX-512).
pub(super) const LANES_MAX: usize = 16;
/// Narrowest register worth it (AVX2). Four lanes are no faster than four streams one after the other.
const LANES_MIN: usize = 8;

/// Which code computes.
#[derive(Clone, Debug)]
pub(super) enum Engine {
    /// All lanes of a register, and fast scalar code.
    Lanes(Md5Many),
    /// Fast scalar code only.
    Scalar,
    /// The reference only.
    Plain,
}

/// MD5 of a stream so far.
#[derive(Clone)]
pub(crate) enum State {
    Fast(Md5State),
    Plain(Md5),
}

impl Engine {
    /// The fastest code that agrees with the reference on this machine; found out once per process.
    pub(super) fn chosen() -> &'static Self {
        static CHOSEN: OnceLock<Engine> = OnceLock::new();
        CHOSEN.get_or_init(|| {
            let many = Md5Many::new();
            let lanes = (LANES_MIN..=LANES_MAX).contains(&many.lanes()).then_some(Self::Lanes(many));
            let found = lanes.into_iter().chain([Self::Scalar]).find(|engine| {
                let agrees = engine.agrees(reference);
                if !agrees {
                    tracing::warn!(code = ?engine, "MD5 code does not agree with the reference on this processor; slower code is used");
                }
                agrees
            });
            found.unwrap_or(Self::Plain)
        })
    }

    /// Streams hashed together at most.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Lanes(many) => many.lanes(),
            Self::Scalar | Self::Plain => 1,
        }
    }

    /// The state of an empty stream.
    pub(super) fn state(&self) -> State {
        match self {
            Self::Lanes(_) | Self::Scalar => State::Fast(Md5State::new()),
            Self::Plain => State::Plain(Md5::new()),
        }
    }

    /// Appends `inputs` to `states`, the first `used` of each. All these inputs are whole blocks of the same length and
    /// all states stand between two blocks; what lies behind `used` is overwritten.
    pub(super) fn update(&self, states: &mut [State; LANES_MAX], inputs: &mut [&[u8]; LANES_MAX], used: usize) {
        let Self::Lanes(many) = self else {
            let pairs = states.iter_mut().zip(inputs).take(used);
            return pairs.for_each(|(state, input)| state.update(input));
        };
        // Idle lanes repeat the first: a full register takes the code's fastest path, and costs no more.
        let width = self.width();
        let first = inputs[0];
        inputs[used..width].fill(first);
        let mut packed: [Md5State; LANES_MAX] =
            std::array::from_fn(|lane| match &states[if lane < used { lane } else { 0 }] {
                State::Fast(state) => *state,
                State::Plain(_) => Md5State::new(),
            });
        many.update_many(&mut packed[..width], &inputs[..width]);
        for (state, packed) in states.iter_mut().zip(packed).take(used) {
            *state = State::Fast(packed);
        }
    }

    /// Whether this code computes what `expected` says: over lengths around the ends of blocks, and in every number of
    /// lanes.
    pub(super) fn agrees(&self, expected: fn(&[u8]) -> [u8; 16]) -> bool {
        let data: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(0x9E37_79B1) >> 21) as u8).collect();
        let scalar = [0, 1, 55, 56, 63, 64, 65, 119, 128, 4095, 4096].into_iter().all(|len| {
            let mut state = self.state();
            data[..len].chunks(1000).for_each(|part| state.update(part));
            state.finish() == expected(&data[..len])
        });
        scalar && (1..=self.width()).all(|used| self.lanes_agree(&data, used, expected))
    }

    fn lanes_agree(&self, data: &[u8], used: usize, expected: fn(&[u8]) -> [u8; 16]) -> bool {
        let mut states: [State; LANES_MAX] = std::array::from_fn(|_| self.state());
        let part = |lane: usize, step: usize| &data[lane * 37 + step * 1024..][..1024];
        for step in 0..2 {
            let mut inputs: [&[u8]; LANES_MAX] = std::array::from_fn(|lane| part(lane, step));
            self.update(&mut states, &mut inputs, used);
        }
        let lanes = states.into_iter().enumerate().take(used);
        lanes.into_iter().all(|(lane, mut state)| {
            let tail = &data[..lane];
            state.update(tail);
            state.finish() == expected(&[part(lane, 0), part(lane, 1), tail].concat())
        })
    }
}

/// The MD5 of `data` as the reference computes it.
pub(super) fn reference(data: &[u8]) -> [u8; 16] {
    Md5::digest(data).into()
}

impl State {
    /// The state of an empty stream, in the code chosen for this process.
    pub(crate) fn new() -> Self {
        Engine::chosen().state()
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Fast(state) => state.update(data),
            Self::Plain(state) => state.update(data),
        }
    }

    pub(crate) fn finish(self) -> [u8; 16] {
        match self {
            Self::Fast(state) => state.finalize(),
            Self::Plain(state) => state.finalize().into(),
        }
    }

    /// Bytes since the last whole block; only of fast code, whose states alone go into lanes.
    pub(super) fn partial_len(&self) -> usize {
        match self {
            Self::Fast(state) => (state.bytes_hashed() % 64) as usize,
            Self::Plain(_) => 0,
        }
    }
}
