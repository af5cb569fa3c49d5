//! What keeps planes within the policy module cannot be named outside it.

use placard::policy::rules::plane::WithinPolicy;

fn main() {}
