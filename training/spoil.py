"""What cameras do to faces, done to pictures: light, colour, blur, too few pixels, noise, compression, things in the way."""

import cv2
import numpy


def colours(image, rng, strength=1.0):
    """Brightness, contrast, gamma, a cast of colour; now and then grey. Bytes in, bytes out."""
    k = strength
    if rng.random() < 0.15 * k:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    slope = (1 + rng.normal(0, 0.22 * k)) * (1 + rng.normal(0, 0.07 * k, 3))
    levels = numpy.clip((numpy.arange(256)[:, None] - 118) * slope + 118 + rng.normal(0, 18 * k), 0, 255) / 255
    table = 255 * levels ** numpy.exp(rng.normal(0, 0.22 * k))
    return cv2.LUT(numpy.ascontiguousarray(image), table.astype(numpy.uint8)[None])


def camera(image, rng, strength=1.0, least=0.25):
    """Fewer pixels, blur, noise, JPEG. Bytes in, bytes out; `least`: the smallest scale."""
    h, w = image.shape[:2]
    if rng.random() < 0.5 * strength:
        scale = rng.uniform(least, 1.0)
        small = cv2.resize(image, (max(8, int(w * scale)), max(8, int(h * scale))), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (w, h), interpolation=rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST], p=[0.6, 0.35, 0.05]))
    if rng.random() < 0.25 * strength:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6))
    if rng.random() < 0.4 * strength:
        noise = numpy.zeros((h, w) if rng.random() < 0.5 else (h, w, 3), numpy.int8)
        cv2.setRNGSeed(int(rng.integers(1 << 31)))
        cv2.randn(noise, 0, rng.uniform(1, 12))
        noise = noise if noise.ndim == 3 else numpy.repeat(noise[..., None], 3, 2)
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if rng.random() < 0.3 * strength:
        quality = int(rng.integers(25, 90))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image


def covered(image, rng):
    """A patch of one colour or of noise over part of the picture."""
    h, w = image.shape[:2]
    ph, pw = int(h * rng.uniform(0.1, 0.4)), int(w * rng.uniform(0.1, 0.4))
    y, x = int(rng.integers(0, h - ph)), int(rng.integers(0, w - pw))
    image = image.copy()
    image[y : y + ph, x : x + pw] = rng.uniform(0, 255, 3) if rng.random() < 0.7 else rng.uniform(0, 255, (ph, pw, 3))
    return image
