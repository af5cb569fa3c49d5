//! Nobody brings rules of their own: a plane that grants everything would make permits at will.

use placard::policy::facts::Register;
use placard::policy::observed::Moment;
use placard::policy::rules::{Decision, DecisionPlane, PlaneError};

struct Everything(Decision);

impl DecisionPlane for Everything {
    fn decide(&self, _register: &Register, _stream: &str, _now: Moment<'_>) -> Result<Decision, PlaneError> {
        Ok(self.0.clone())
    }
}

fn main() {}
