//! The stages are a closed list, and which of them open pixels is not for others to say.

use placard::policy::lease::{Match, PixelStage, Stage, StreamState};

enum Mine {}

impl Stage for Mine {
    const NAME: &'static str = "mine";
    const NEEDS: StreamState = StreamState::Off;
}
impl PixelStage for Match {}

fn main() {}
