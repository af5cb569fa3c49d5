//! What drawing costs: a frame of each scene with its people drawn before (warm) and on the way (cold), in CPU time of this thread.
//!
//! `cargo bench --bench render`. Half a minute of each scene, 1280 × 720 at 15 frames a second. The warm figure is what a stream costs for
//! long; the cold one what its first half minute does.
#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use nix::time::{ClockId, clock_gettime};
use placard::render::halls::SCENES;
use placard::render::scene::Scene;
use placard::render::sprite::Planes;

const FRAMES: u64 = 450;
const FPS: f64 = 15.0;

/// CPU time of this thread, ms.
fn spent_ms() -> f64 {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has this clock");
    now.tv_sec() as f64 * 1e3 + now.tv_nsec() as f64 / 1e6
}

/// (mean, worst) ms a frame.
fn half_a_minute(scene: &mut Scene) -> (f64, f64) {
    let mut planes = Planes::default();
    let (began, mut worst) = (spent_ms(), 0.0_f64);
    for frame in 0..FRAMES {
        let before = spent_ms();
        scene.draw(frame, FPS, &mut planes);
        worst = worst.max(spent_ms() - before);
    }
    ((spent_ms() - began) / FRAMES as f64, worst)
}

fn main() {
    println!("| scene | opening, ms | cold, ms a frame (worst) | warm, ms a frame (worst) |\n|---|---|---|---|");
    for (name, _) in SCENES {
        let before = spent_ms();
        let mut scene = Scene::open(name, 3, 1_280, 720).expect("a scene");
        let opening = spent_ms() - before;
        let (cold, warm) = (half_a_minute(&mut scene), half_a_minute(&mut scene));
        println!("| `{name}` | {opening:.0} | {:.1} ({:.0}) | {:.2} ({:.1}) |", cold.0, cold.1, warm.0, warm.1);
    }
}
