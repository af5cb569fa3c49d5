// shim.h: CUDA C++ as plain C++, one fibre for each CUDA thread. For tests only; nothing of it is shipped.
//
// A kernel's threads run one at a time, and change only where the kernel lets them meet: at a barrier, or at a collective of a warp. Who goes next is
// drawn from a seed, so a kernel that needs an order it did not ask for gives another answer under another seed. What cannot be so on a device
// is reported, with the kernel, the block, the threads and the lines, and ends the process:
//   - threads of a block that wait at different barriers, or at one that others never reach
//   - lanes of a warp that meet at different collectives, name lanes that are not there, or read one that takes no part
//   - copies into shared memory that nobody waited for, copies and matrices whose memory is not shared or not aligned
//   - more threads than __launch_bounds__ say, more than 48 KB of shared memory
// Shared memory is of unknown content at first (the seed's), each array lies alone (the address sanitizer sees one step outside), and a copy's
// target is spoilt when the copy begins and has the data only when its thread has waited for it.
//
// It says nothing about speed, about the order in which memory is seen without a barrier, about lost updates (between two meetings a thread runs alone, so
// that a plain `+=` does here what an atomicAdd does), or about fused multiply-adds.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
// Stands between `extern "C" __global__ void` and the kernel's name: makes the bound known, and begins the declaration anew.
#define SHIM_BOUND_OF(line) bound_of_##line
#define SHIM_BOUND(line) SHIM_BOUND_OF(line)
#define __launch_bounds__(...) shim_bounded(); static const ::shim::Bound SHIM_BOUND(__LINE__)(__VA_ARGS__); extern "C" void
#define __align__(bytes) alignas(bytes)

struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
struct uint3 { unsigned x, y, z; };
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

namespace shim {

// Where a kernel's thread is: the file and line of the call.
struct Site {
  const char* file;
  int line;
  const char* what;
};

enum class State : unsigned char { Fresh, Ready, AtBarrier, AtCollective, Done };

struct Fibre;
// Gives each lane of `mask` its result, from what all of them brought. `lanes` is the warp's lane 0.
using Combine = void (*)(Fibre* lanes, unsigned mask);

constexpr size_t kExchange = 64;

struct Fibre {
  alignas(16) unsigned char in[kExchange];
  alignas(16) unsigned char out[kExchange];
  void* stack_pointer;
  void* fake_stack;
  char* stack;
  uint3 thread;
  unsigned index, lane, warp;
  State state;
  unsigned mask;
  Combine combine;
  Site site;
};

extern Fibre* current;
extern uint3 block_index, block_size, grid_size;

[[noreturn]] void report(const char* format, ...) __attribute__((format(printf, 1, 2)));
void barrier(Site site);
void collective(unsigned mask, Combine combine, Site site);
// Whether the barrier or wait at this place is left out, to see whether anybody notices.
bool is_left_out(Site site);
void* shared(size_t bytes, const char* file, int line);
// Reports a matrix's row that is not aligned or not in shared memory.
void matrix_row(const void* row, unsigned lane);
void copy(void* to, const void* from, bool valid);
void copy_commit();
void copy_wait(unsigned pending, Site site);

// How a kernel is started: `arguments[i]` points at its i-th argument.
using Start = void (*)(void** arguments);
struct Registered {
  Registered(const char* name, Start start);
};
// A kernel's __launch_bounds__: more threads than that are reported.
struct Bound {
  explicit Bound(unsigned most_threads, unsigned blocks = 1);
};
void launch(const char* name, uint3 grid, uint3 block, void** arguments, uint64_t seed);
void leave_out(const char* file, int line);
// Calls `each` with every barrier and wait that a thread has come to.
void each_site(void (*each)(const Site&, void*), void* context);


template <class T>
T exchange(unsigned mask, T value, Combine combine, Site site) {
  static_assert(sizeof(T) + 4 <= kExchange, "an exchange is small");
  Fibre* me = current;
  memcpy(me->in, &value, sizeof value);
  collective(mask, combine, site);
  T result;
  memcpy(&result, me->out, sizeof result);
  return result;
}

constexpr size_t kSource = kExchange - 4;

template <class T>
void shuffle_combine(Fibre* lanes, unsigned mask) {
  for (unsigned lane = 0; lane < 32; lane++) {
    if (!(mask >> lane & 1)) continue;
    unsigned source;
    memcpy(&source, lanes[lane].in + kSource, sizeof source);
    if (source > 31 || !(mask >> source & 1)) {
      report("lane %u shuffles from lane %u, which takes no part (%s:%d)", lane, source, lanes[lane].site.file, lanes[lane].site.line);
    }
    memcpy(lanes[lane].out, lanes[source].in, sizeof(T));
  }
}

template <class T>
T shuffle(unsigned mask, T value, unsigned source, Site site) {
  memcpy(current->in + kSource, &source, sizeof source);
  return exchange(mask, value, shuffle_combine<T>, site);
}

void ballot_combine(Fibre* lanes, unsigned mask);
void meet_combine(Fibre* lanes, unsigned mask);

}  // namespace shim

#define threadIdx (::shim::current->thread)
#define blockIdx (::shim::block_index)
#define blockDim (::shim::block_size)
#define gridDim (::shim::grid_size)
// Where the caller stands.
#define SHIM_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(SHIM_PLACE) { shim::barrier({file, line, "__syncthreads"}); }
inline void __syncwarp(unsigned mask = ~0u, SHIM_PLACE) {
  shim::Site site{file, line, "__syncwarp"};
  if (!shim::is_left_out(site)) shim::collective(mask, shim::meet_combine, site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SHIM_PLACE) {
  return shim::exchange<unsigned>(mask, predicate != 0, shim::ballot_combine, {file, line, "__ballot_sync"});
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, SHIM_PLACE) {
  return shim::shuffle(mask, value, source & 31, {file, line, "__shfl_sync"});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, SHIM_PLACE) {
  return shim::shuffle(mask, value, shim::current->lane ^ lanes, {file, line, "__shfl_xor_sync"});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32, SHIM_PLACE) {
  unsigned lane = shim::current->lane, within = lane & (width - 1);
  return shim::shuffle(mask, value, within + lanes < unsigned(width) ? lane + lanes : lane, {file, line, "__shfl_down_sync"});
}

// One thread runs at a time, so that plain memory is atomic.
template <class T>
T atomicAdd(T* place, T value) { T old = *place; *place = old + value; return old; }
template <class T>
T atomicMax(T* place, T value) { T old = *place; *place = old < value ? value : old; return old; }
template <class T>
T atomicOr(T* place, T value) { T old = *place; *place = old | value; return old; }
inline void __threadfence() {}

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline unsigned __float_as_uint(float v) { unsigned u; memcpy(&u, &v, 4); return u; }
inline float __uint_as_float(unsigned u) { float v; memcpy(&v, &u, 4); return v; }
// Compiled with -ffp-contract=off: each operation rounds by itself.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline float __double2float_rn(double a) { return float(a); }
inline int __float2int_rd(float a) { return a >= 2147483648.f ? INT32_MAX : a <= -2147483648.f ? INT32_MIN : a != a ? 0 : int(floorf(a)); }
// Of a NaN and a number, the number, as on a device.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
template <class T> inline T min(T a, T b) { return b < a ? b : a; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }
template <class T> inline T __ldg(const T* place) { return *place; }
template <class T> inline T __ldcs(const T* place) { return *place; }
