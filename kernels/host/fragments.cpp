// fragments.cpp: 16-bit floats and the tensor core's steps on the host, as primitives.cuh lays the fragments out.
#include "../primitives.cuh"

namespace shim {

// Round to nearest, ties to even; overflow to infinity; NaN stays NaN.
uint16_t half_bits(float value) {
  uint32_t x;
  memcpy(&x, &value, 4);
  uint32_t sign = x >> 16 & 0x8000;
  x &= 0x7fffffff;
  if (x > 0x7f800000) return uint16_t(sign | 0x7e00);
  if (x >= 0x477ff000) return uint16_t(sign | 0x7c00);
  if (x < 0x33000000) return uint16_t(sign);
  uint32_t exponent = x >> 23, mantissa = (x & 0x7fffff) | 0x800000;
  if (x < 0x38800000) {
    // Subnormal: 126 − exponent places go, 14 to 24 of them.
    uint32_t shift = 126 - exponent, kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
    if (rest > half || (rest == half && (kept & 1))) kept++;
    return uint16_t(sign | kept);
  }
  uint32_t kept = (x - 0x38000000) >> 13, rest = x & 0x1fff;
  if (rest > 0x1000 || (rest == 0x1000 && (kept & 1))) kept++;
  return uint16_t(sign | kept);
}

float half_value(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 0x3ff, x;
  if (exponent == 31) {
    x = sign | 0x7f800000 | mantissa << 13;
  } else if (exponent != 0) {
    x = sign | (exponent + 112) << 23 | mantissa << 13;
  } else {
    float small = float(mantissa) * 5.9604644775390625e-8f;
    memcpy(&x, &small, 4);
    x |= sign;
  }
  float value;
  memcpy(&value, &x, 4);
  return value;
}

void mma_combine(Fibre* lanes, unsigned) {
  float a[16][16], b[16][8];
  MmaIn in[32];
  for (int lane = 0; lane < 32; lane++) {
    memcpy(&in[lane], lanes[lane].in, sizeof(MmaIn));
    int g = lane / 4, c = lane % 4;
    for (int i = 0; i < 4; i++) {
      int row = g + i % 2 * 8, column = 2 * c + i / 2 * 8;
      a[row][column] = half_value(uint16_t(in[lane].a[i])), a[row][column + 1] = half_value(uint16_t(in[lane].a[i] >> 16));
    }
    for (int i = 0; i < 2; i++) {
      int row = 2 * c + 8 * i;
      b[row][g] = half_value(uint16_t(in[lane].b[i])), b[row + 1][g] = half_value(uint16_t(in[lane].b[i] >> 16));
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    MmaOut out;
    for (int i = 0; i < 4; i++) {
      int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum = in[lane].d[i];
      for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
      out.d[i] = sum;
    }
    memcpy(lanes[lane].out, &out, sizeof out);
  }
}

template <bool kTransposed>
void load_matrix_combine(Fibre* lanes, unsigned) {
  uint16_t matrices[4][8][8];
  for (int lane = 0; lane < 32; lane++) {
    const void* row;
    memcpy(&row, lanes[lane].in, sizeof row);
    matrix_row(row, unsigned(lane));
    memcpy(matrices[lane / 8][lane % 8], row, 16);
  }
  for (int lane = 0; lane < 32; lane++) {
    uint32_t out[4];
    for (int m = 0; m < 4; m++) {
      int g = lane / 4, c = 2 * (lane % 4);
      uint32_t low = kTransposed ? matrices[m][c][g] : matrices[m][g][c];
      uint32_t high = kTransposed ? matrices[m][c + 1][g] : matrices[m][g][c + 1];
      out[m] = low | high << 16;
    }
    memcpy(lanes[lane].out, out, sizeof out);
  }
}
template void load_matrix_combine<false>(Fibre*, unsigned);
template void load_matrix_combine<true>(Fibre*, unsigned);

}  // namespace shim
