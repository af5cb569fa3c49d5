//! Decide: is it a hit, and was it told already. A hit is a task for a human, never an act (C32).
