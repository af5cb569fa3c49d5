//! What cameras and cables do to a picture: too few pixels, blur, motion, noise, colour casts, block artefacts.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

use super::random::Random;
use super::vector::mix;

/// Worsens `image` by `k` (0…1). `face_px` bounds what may be lost: a face stays at least 12 pixels sharp.
pub fn degrade(mut image: RgbImage, k: f32, face_px: f32, r: &mut Random) -> RgbImage {
    let (width, height) = image.dimensions();
    if r.chance(0.35 * k) {
        let share = r.within((12.0 / face_px).clamp(0.3, 1.0), 1.0);
        let shrunk = |v: u32| ((v as f32 * share) as u32).max(8);
        let small = imageops::resize(&image, shrunk(width), shrunk(height), FilterType::Triangle);
        image = imageops::resize(&small, width, height, if r.chance(0.5) { FilterType::Triangle } else { FilterType::CatmullRom });
    }
    if r.chance(0.5 * k) {
        let sigma = r.unit() * r.unit() * 0.035 * face_px;
        image = if sigma > 0.2 { imageops::fast_blur(&image, sigma) } else { image };
    }
    if r.chance(0.2 * k) {
        let length = (r.unit() * 0.1 * face_px) as i32;
        image = smeared(&image, length, r.within(0.0, std::f32::consts::PI));
    }
    tint(&mut image, k, r);
    if r.chance(0.8 * k) {
        add_noise(&mut image, r.unit() * r.unit() * 22.0 * k, r);
    }
    if r.chance(0.7 * k) {
        image = through_jpeg(image, mix(95.0, 18.0, r.unit() * k) as u8);
    }
    image
}

/// Contrast, brightness and colour cast.
fn tint(image: &mut RgbImage, k: f32, r: &mut Random) {
    let contrast = r.around(1.0, 0.16 * k);
    let lift = r.around(0.0, 14.0 * k);
    let cast: [f32; 3] = std::array::from_fn(|_| r.around(1.0, 0.06 * k));
    let grey = if r.chance(0.06 * k) { 1.0 } else { 0.0 };
    for pixel in image.pixels_mut() {
        let [red, green, blue] = pixel.0.map(f32::from);
        let level = 0.299 * red + 0.587 * green + 0.114 * blue;
        let value = |c: usize| ((mix(f32::from(pixel.0[c]), level, grey) - 118.0) * contrast + 118.0 + lift) * cast[c];
        *pixel = Rgb([value(0), value(1), value(2)].map(|v| v.clamp(0.0, 255.0) as u8));
    }
}

/// More in the dark, coarser in colour.
fn add_noise(image: &mut RgbImage, sigma: f32, r: &mut Random) {
    for pixel in image.pixels_mut() {
        let dark = 1.2 - f32::from(pixel.0[1]) / 400.0;
        let grey = r.around(0.0, sigma * dark);
        *pixel = Rgb(pixel.0.map(|v| (f32::from(v) + grey + r.around(0.0, 0.4 * sigma * dark)).clamp(0.0, 255.0) as u8));
    }
}

fn smeared(image: &RgbImage, length: i32, angle: f32) -> RgbImage {
    if length < 2 {
        return image.clone();
    }
    let (w, h) = (image.width() as i32, image.height() as i32);
    let (s, c) = angle.sin_cos();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let mut sum = [0_u32; 3];
        for i in 0..length {
            let at = (i - length / 2) as f32;
            let (px, py) = ((x as i32 + (at * c) as i32).clamp(0, w - 1), (y as i32 + (at * s) as i32).clamp(0, h - 1));
            let p = image.get_pixel(px.cast_unsigned(), py.cast_unsigned()).0;
            (0..3).for_each(|c| sum[c] += u32::from(p[c]));
        }
        Rgb(sum.map(|v| (v / length.cast_unsigned()) as u8))
    })
}

/// Encodes and decodes; a picture that cannot be encoded is left as it is.
fn through_jpeg(image: RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    let written = encoder.write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8);
    match written.and_then(|()| image::load_from_memory(&bytes)) {
        Ok(decoded) => decoded.into_rgb8(),
        Err(_) => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_grow_with_difficulty_and_repeat_with_the_seed() {
        let clean = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 4) as u8, (y * 4) as u8, if (x / 8 + y / 8) % 2 == 0 { 200 } else { 60 }]));
        let harm = |k: f32, seed: u64| {
            let worse = degrade(clean.clone(), k, 40.0, &mut Random::new(seed, "test"));
            assert_eq!(worse.dimensions(), (64, 64));
            clean.as_raw().iter().zip(worse.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / f64::from(64 * 64 * 3)
        };
        let mean = |k: f32| (0..12).map(|seed| harm(k, seed)).sum::<f64>() / 12.0;
        assert!(mean(0.1) < mean(1.0), "{} {}", mean(0.1), mean(1.0));
        assert_eq!(harm(1.0, 3), harm(1.0, 3));
    }
}
