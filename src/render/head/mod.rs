//! One person's head: who (`identity`), how today (`look`), its shape (`skull`, `face`, `hair`, `extras`) and its paint (`skin`).

pub mod extras;
pub mod face;
pub mod hair;
pub mod identity;
pub mod look;
pub mod model;
pub mod paint;
pub mod skull;
