// primitives.cuh: the few things that are not plain CUDA C++, each once as a device has it and once as the host shim has it.
//
//   SHARED(T, name, count)        an array that the block's threads share, aligned to 128 bytes; of unknown content at first
//   KERNEL(name)                  makes a kernel known to the shim; nothing on a device
//   Half, half_from, float_from   16-bit floats, rounded to nearest even
//   floats_of, pair_of            two 16-bit floats in one word, the first in its low half
//   dot4_unsigned_signed          sum of four products of an unsigned and a signed byte (dp4a)
//   mma_16x8x16                   a warp's tensor core step: fp16 in, fp32 accumulated
//   load_matrix_x4 / _trans       four 8 × 8 matrices of halves from shared memory into a warp's fragments (ldmatrix)
//   copy_async16, copy_commit,    16 bytes from global to shared memory, in the background; a thread may use what it copied after it has waited,
//   copy_wait<N>                  other threads after a barrier that follows. copy_wait<N>: all groups but the last N are there
//
// Fragments, lane l, g = l / 4, c = l % 4:
//   a[0] (row g, cols 2c 2c+1)  a[1] (row g+8)  a[2] (row g, cols 2c+8 2c+9)  a[3] (row g+8, cols 2c+8 …)
//   b[0] (rows 2c 2c+1, col g)  b[1] (rows 2c+8 2c+9, col g)      d[0..1] (row g, cols 2c 2c+1)  d[2..3] (row g+8)
#pragma once

#if defined(__CUDACC__)

#include <cuda_fp16.h>
#if !defined(__CUDACC_RTC__)
#include <cstdint>
#else
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef int int32_t;
typedef long long int64_t;
#endif

#define SHARED(T, name, count) __shared__ __align__(128) T name[count]
#define KERNEL(name)

typedef __half Half;
static __device__ __forceinline__ Half half_from(float value) { return __float2half_rn(value); }
static __device__ __forceinline__ float float_from(Half value) { return __half2float(value); }

static __device__ __forceinline__ float2 floats_of(uint32_t pair) { return __half22float2(*reinterpret_cast<const __half2*>(&pair)); }
static __device__ __forceinline__ uint32_t pair_of(float first, float second) {
  const __half2 pair = __floats2half2_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

static __device__ __forceinline__ int dot4_unsigned_signed(uint32_t codes, int32_t query, int32_t sum) {
  int32_t result;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(codes), "r"(query), "r"(sum));
  return result;
}

static __device__ __forceinline__ void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}

// Lane l brings the address of row l % 8 of matrix l / 8.
static __device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], const void* row) {
  uint32_t place = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(place) : "memory");
}
static __device__ __forceinline__ void load_matrix_x4_trans(uint32_t (&r)[4], const void* row) {
  uint32_t place = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(place) : "memory");
}

// `valid` false: 16 zeros, and nothing is read.
static __device__ __forceinline__ void copy_async16(void* to, const void* from, bool valid) {
#if __CUDA_ARCH__ >= 800
  uint32_t place = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(bytes) : "memory");
#else
  *static_cast<uint4*>(to) = valid ? *static_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#endif
}
static __device__ __forceinline__ void copy_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int kPending>
static __device__ __forceinline__ void copy_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

#else  // the host shim

#include <utility>

#include "host/shim.h"

#define SHARED(T, name, count) T* const name = static_cast<T*>(::shim::shared(sizeof(T) * (count), __FILE__, __LINE__))

namespace shim {
template <class... A, size_t... I>
void start(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
}
template <class... A>
void start(void (*kernel)(A...), void** arguments) {
  start(kernel, arguments, std::index_sequence_for<A...>{});
}
uint16_t half_bits(float value);
float half_value(uint16_t bits);
void mma_combine(Fibre* lanes, unsigned mask);
template <bool kTransposed>
void load_matrix_combine(Fibre* lanes, unsigned mask);
struct MmaIn {
  uint32_t a[4], b[2];
  float d[4];
};
struct MmaOut {
  float d[4];
};
}  // namespace shim

#define KERNEL(name) static ::shim::Registered registered_##name(#name, [](void** arguments) { ::shim::start(name, arguments); });

struct Half {
  uint16_t bits;
};
inline Half half_from(float value) { return {shim::half_bits(value)}; }
inline float float_from(Half value) { return shim::half_value(value.bits); }
inline float2 floats_of(uint32_t pair) { return {shim::half_value(uint16_t(pair)), shim::half_value(uint16_t(pair >> 16))}; }
inline uint32_t pair_of(float first, float second) { return shim::half_bits(first) | uint32_t(shim::half_bits(second)) << 16; }

inline int dot4_unsigned_signed(uint32_t codes, int32_t query, int32_t sum) {
  for (int i = 0; i < 4; i++) sum += int(codes >> 8 * i & 255) * int8_t(uint32_t(query) >> 8 * i);
  return sum;
}

inline void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SHIM_PLACE) {
  shim::MmaIn in;
  memcpy(in.a, a, sizeof in.a), memcpy(in.b, b, sizeof in.b), memcpy(in.d, d, sizeof in.d);
  memcpy(shim::current->in, &in, sizeof in);
  shim::collective(~0u, shim::mma_combine, {file, line, "mma"});
  memcpy(d, shim::current->out, sizeof d);
}
inline void load_matrix_x4(uint32_t (&r)[4], const void* row, SHIM_PLACE) {
  memcpy(shim::current->in, &row, sizeof row);
  shim::collective(~0u, shim::load_matrix_combine<false>, {file, line, "ldmatrix"});
  memcpy(r, shim::current->out, sizeof r);
}
inline void load_matrix_x4_trans(uint32_t (&r)[4], const void* row, SHIM_PLACE) {
  memcpy(shim::current->in, &row, sizeof row);
  shim::collective(~0u, shim::load_matrix_combine<true>, {file, line, "ldmatrix.trans"});
  memcpy(r, shim::current->out, sizeof r);
}

inline void copy_async16(void* to, const void* from, bool valid) { shim::copy(to, from, valid); }
inline void copy_commit() { shim::copy_commit(); }
template <int kPending>
inline void copy_wait(SHIM_PLACE) {
  shim::copy_wait(kPending, {file, line, "copy_wait"});
}

#endif
