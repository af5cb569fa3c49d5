//! The shim itself: what it must report it reports, and what is right it leaves alone. Kernels: `broken.cu`.

use crate::battery::{Draw, half_bits, half_value};
use crate::compiler::runner;
use crate::job::{Argument, Buffer, Job, bytes};

/// Runs one kernel with 32 threads, and a buffer of 64 numbers that it may write.
fn run(kernel: &str, threads: u32, arguments: impl Fn(&mut Job, Buffer) -> Vec<Argument>) -> Option<Result<(), String>> {
    let runner = runner()?;
    let mut job = Job::default();
    let out = job.output(vec![0; 256]);
    let arguments = arguments(&mut job, out);
    job.launch(kernel, [1, 1, 1], [threads, 1, 1], &arguments);
    Some(job.run(runner, None, |_| Ok(())).map(|_| ()))
}

/// `said` is what the report must hold.
fn is_reported(kernel: &str, said: &str, arguments: impl Fn(&mut Job, Buffer) -> Vec<Argument>) {
    let Some(result) = run(kernel, 32, arguments) else { return };
    let report = result.expect_err(kernel);
    assert!(report.contains(said), "{kernel}: `{said}` is not in: {report}");
}

fn only_out(_: &mut Job, out: Buffer) -> Vec<Argument> {
    vec![out.into()]
}

#[test]
fn one_byte_outside_a_buffer_is_seen() {
    if runner().is_some_and(|runner| runner.sanitizes) {
        is_reported("broken_write_behind", "heap-buffer-overflow", |_, out| vec![out.into(), 64_u32.into()]);
        is_reported("broken_read_before", "heap-buffer-overflow", |job, out| vec![job.input(vec![1; 32]).into(), out.into()]);
        is_reported("broken_shared_behind", "heap-buffer-overflow", only_out);
        is_reported("broken_overflow", "signed integer overflow", |_, out| vec![out.into(), 0x7fff_ffff_u32.into()]);
        is_reported("broken_misaligned", "misaligned address", |job, out| vec![job.input(vec![1; 256]).into(), out.into()]);
    }
}

#[test]
fn threads_that_cannot_meet_are_reported_and_never_hang() {
    is_reported("broken_divergent_barrier", "deadlock: 16 of 32 threads have ended", only_out);
    is_reported("broken_two_barriers", "is at the barrier of", only_out);
    is_reported("broken_deadlock", "deadlock", only_out);
    is_reported("broken_mixed_collectives", "different collectives", only_out);
    is_reported("broken_ended_lane", "lane 5 has ended", only_out);
    is_reported("broken_foreign_lane", "which takes no part", |_, out| vec![out.into()]);
    is_reported("broken_no_such_kernel", "no such kernel", only_out);
}

#[test]
fn a_copy_that_nobody_waits_for_is_reported() {
    is_reported("broken_copy_without_wait", "has not waited for", |job, out| vec![job.input(vec![7; 512]).into(), out.into()]);
}

#[test]
fn what_no_device_can_do_is_reported() {
    is_reported("broken_copy_to_global", "goes to what is not shared memory", |job, out| vec![job.input(vec![1; 512]).into(), out.into()]);
    is_reported("broken_matrix_from_global", "does not lie in shared memory", only_out);
    is_reported("broken_much_shared", "bytes of shared memory", only_out);
    let Some(result) = run("broken_bound", 33, only_out) else { return };
    let report = result.expect_err("a thread too many");
    assert!(report.contains("its __launch_bounds__ are 32"), "{report}");
    assert_eq!(run("broken_bound", 32, only_out), Some(Ok(())));
}

/// Unwritten shared memory is zeros under some seeds, and something else under others.
#[test]
fn a_flag_that_nobody_has_written_is_not_always_set() {
    let Some(runner) = runner() else { return };
    for always in [0_u32, 1] {
        let mut job = Job::default();
        let out = job.output(vec![0; 128]);
        job.launch("broken_unwritten_flag", [1, 1, 1], [32, 1, 1], &[out.into()]);
        let seen = job.run(runner, None, |outputs| if outputs.u32s(out) == [always; 32] { Ok(()) } else { Err("another".to_owned()) });
        assert!(seen.is_err_and(|wrong| wrong.contains("another")), "it is always {always}");
    }
}

/// What `docs/kernels.md` says is not seen, is not: once it is, that page is wrong.
#[test]
fn a_lost_update_is_not_seen() {
    let Some(runner) = runner() else { return };
    let mut job = Job::default();
    let out = job.output(vec![0; 4]);
    job.launch("unseen_lost_update", [2, 1, 1], [32, 1, 1], &[out.into()]);
    let right = |outputs: &crate::job::Outputs<'_>| if outputs.u32s(out) == [64] { Ok(()) } else { Err("lost".to_owned()) };
    assert_eq!(job.run(runner, None, right).map(|_| ()), Ok(()));
}

#[test]
fn the_least_and_the_most_of_nan_are_the_devices() {
    let Some(runner) = runner() else { return };
    let mut job = Job::default();
    let out = job.output(vec![0; 32]);
    job.launch("whole_least_and_most", [1, 1, 1], [1, 1, 1], &[out.into(), f32::NAN.into()]);
    let check = |outputs: &crate::job::Outputs<'_>| {
        let got = outputs.f32s(out);
        let right = got[..4] == [1.0; 4] && got[4].is_nan() && got[5..] == [0.0, 255.0, 77.0];
        if right { Ok(()) } else { Err(format!("{got:?}")) }
    };
    assert_eq!(job.run(runner, None, check).map(|_| ()), Ok(()));
}

#[test]
fn what_is_read_too_early_differs_from_order_to_order() {
    let Some(runner) = runner() else { return };
    let mut job = Job::default();
    let out = job.output(vec![0; 256]);
    job.launch("broken_race", [1, 1, 1], [64, 1, 1], &[out.into()]);
    let right: Vec<u32> = (0..64).map(|i| (i + 1) % 64).collect();
    let seen = job.run(runner, None, |outputs| if outputs.u32s(out) == right { Ok(()) } else { Err("too early".to_owned()) });
    assert!(seen.is_err_and(|wrong| wrong.contains("too early")));

    let mut job = Job::default();
    let (from, out) = (job.input((0..=255).chain(0..=255).collect()), job.output(vec![0; 32]));
    job.launch("broken_copy_without_barrier", [1, 1, 1], [32, 1, 1], &[from.into(), out.into()]);
    let right: Vec<u8> = (0..32).map(|i| u8::try_from((i + 1) % 32 * 16 % 256).expect("a byte")).collect();
    let seen = job.run(runner, None, |outputs| if outputs.bytes(out) == right { Ok(()) } else { Err("too early".to_owned()) });
    assert!(seen.is_err_and(|wrong| wrong.contains("too early")));
}

/// Fragments, collectives and copies, each by its definition.
#[test]
#[expect(clippy::cast_possible_truncation, reason = "lanes")]
fn the_primitives_do_what_they_are_defined_to_do() {
    let Some(runner) = runner() else { return };
    let mut draw = Draw(7);
    let tile: Vec<u16> = (0..256).map(|_| half_bits(draw.normal())).collect();
    let mut job = Job::default();
    let from = job.input(bytes(&tile, u16::to_le_bytes));
    let (products, others) = (job.output(vec![0; 512]), job.output(vec![0; 512]));
    job.launch("whole_primitives", [1, 1, 1], [32, 1, 1], &[from.into(), products.into(), others.into()]);
    let value = |matrix: usize, row: usize, column: usize| {
        // The last row of the last matrix was copied as zeros.
        if matrix == 3 && row == 7 { 0.0 } else { half_value(tile[matrix * 64 + row * 8 + column]) }
    };
    let a = |row: usize, k: usize| value(row / 8 + k / 8 * 2, row % 8, k % 8);
    let b = |k: usize, column: usize| value(k / 8 * 2, k % 8, column);
    let done = job.run(runner, None, |outputs| {
        let (products, others) = (outputs.f32s(products), outputs.u32s(others));
        for lane in 0..32 {
            for i in 0..4 {
                let (row, column) = (lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2);
                let exact = (i + 1) as f32 + (0..16).map(|k| a(row, k) * b(k, column)).sum::<f32>();
                if (products[4 * lane + i] - exact).abs() > 1e-5 {
                    return Err(format!("product ({row}, {column}): {} instead of {exact}", products[4 * lane + i]));
                }
            }
            let ballot = (0..32).filter(|l| l % 3 == 0).fold(0, |votes, l| votes | 1 << l);
            let down = if lane % 16 + 4 < 16 { lane + 4 } else { lane };
            // 0x7f · 1 + 0x80 · 0x7f + 1 · −1 + 0xff · −128, and the lane.
            let dot = 127 + 128 * 127 - 1 - 255 * 128 + lane as i32;
            let right = [ballot, down as u32, lane as u32 ^ 5, dot.cast_unsigned()];
            if others[4 * lane..][..4] != right {
                return Err(format!("lane {lane}: {:?} instead of {right:?}", &others[4 * lane..][..4]));
            }
        }
        Ok(())
    });
    assert_eq!(done.map(|_| ()), Ok(()));
}

#[test]
fn halves_round_as_the_format_says() {
    for (value, bits) in
        [(1.0, 0x3c00), (65_504.0, 0x7bff), (65_520.0, 0x7c00), (6e-8, 1), (2e-8, 0), (-2.5, 0xc100), (1.000_488_3, 0x3c00)]
    {
        assert_eq!(half_bits(value), bits, "{value}");
    }
    assert!((0..0x7c00).all(|bits| half_bits(half_value(bits)) == bits));
}
