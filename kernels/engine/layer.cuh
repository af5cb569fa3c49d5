// layer.cuh: what a network's operators end with: bias, activation, residual.
#pragma once
#include "../primitives.cuh"

constexpr uint32_t kNone = 0, kRelu = 1, kRelu6 = 2, kPrelu = 3;

// A convolution, a matrix product, or a depthwise convolution; in device memory. Channels are multiples of 8, padded with zeros. Null: there is none.
struct Layer {
  const Half* in;        // [batch][in_height][in_width][in_channels], aligned to 16 B
  const Half* weights;   // [out_channels][kernel_height][kernel_width][in_channels]; depthwise [kernel_height][kernel_width][channels]; aligned to 16 B
  const float* bias;     // [out_channels], or null
  const float* slopes;   // [out_channels], for kPrelu
  const Half* residual;  // shaped as the output, or null
  Half* out;             // [batch][out_height][out_width][out_channels], aligned to 16 B, or null
  float* out_f32;        // the same in f32, unrounded, or null
  uint32_t batch, in_height, in_width, in_channels, out_height, out_width, out_channels;
  uint32_t kernel_height, kernel_width, stride, pad_top, pad_left;
  uint32_t activation;
  uint32_t residual_first;  // 1: added before the activation; 0: after it
};

static __device__ __forceinline__ float finished(const Layer& layer, float sum, uint32_t channel, float residual) {
  float value = sum + (layer.bias ? layer.bias[channel] : 0.f);
  if (layer.residual_first) value += residual;
  // A NaN stays one.
  if (layer.activation == kRelu || layer.activation == kRelu6) value = value < 0.f ? 0.f : value;
  if (layer.activation == kRelu6) value = value > 6.f ? 6.f : value;
  if (layer.activation == kPrelu) value = value < 0.f ? value * layer.slopes[channel] : value;
  return layer.residual_first ? value : value + residual;
}

// Finishes channels `channel` and the next of an output pixel, and writes them.
static __device__ __forceinline__ void write_two(const Layer& layer, size_t pixel, uint32_t channel, float first, float second) {
  const size_t at = pixel * layer.out_channels + channel;
  float2 residual = make_float2(0.f, 0.f);
  if (layer.residual) residual = floats_of(*reinterpret_cast<const uint32_t*>(layer.residual + at));
  first = finished(layer, first, channel, residual.x);
  second = finished(layer, second, channel + 1, residual.y);
  if (layer.out) *reinterpret_cast<uint32_t*>(layer.out + at) = pair_of(first, second);
  if (layer.out_f32) layer.out_f32[at] = first, layer.out_f32[at + 1] = second;
}
