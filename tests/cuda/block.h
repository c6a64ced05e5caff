// What a kernel source sees under g++ in the place of CUDA's built-ins. build.sh includes it ahead of the source.
//
// Kernels are `extern "C" __global__ void name(...)`. __CUDACC_RTC__ and __CUDA_ARCH__ are not defined. Inline PTX stands
// under `#ifdef __CUDACC_RTC__`; for what needs it, the twin has functions of its own at the end of this file, which the
// source must define for NVRTC.
//
// Not here, on purpose: dynamic shared memory (`extern __shared__`), atomics on float (their order is not fixed),
// __constant__ memory that the host fills, and functions whose last bit differs between a card and a CPU (expf and its
// like are the host's where they are used).
#pragma once

// Standard headers come before the macros: libstdc++ itself writes __attribute__((__noinline__)).
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <limits>
#include <memory>
// After <cmath>: brings isnan, isfinite and their like out of std.
#include <math.h>

#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const  // with its values in the source
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#ifdef __SANITIZE_ADDRESS__
// AddressSanitizer guards the ends of static arrays but not of thread-local ones; blocks then run one at a time.
#define __shared__ static
#else
#define __shared__ static thread_local  // 0xff bytes when a launch begins
#endif

#define threadIdx (twin::current->index)
#define blockIdx (twin::current->block->index)
#define blockDim (twin::current->block->size)
#define gridDim (twin::current->block->grid)
#define warpSize 32

// Vectors, aligned as on a card: a misaligned access is found by UndefinedBehaviorSanitizer.
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct uint3 { unsigned x, y, z; };
struct float3 { float x, y, z; };
using dim3 = twin::Dim3;
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

// Barriers and fences.
inline void __syncthreads() { twin::barrier(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { twin::sync_warp(mask); }
inline void __threadfence_block() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence_system() { std::atomic_thread_fence(std::memory_order_seq_cst); }
[[noreturn]] inline void __trap() { twin::fail("__trap()"); }

// Bits of a value as another type.
template <class To, class From>
inline To twin_bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}
inline unsigned __float_as_uint(float v) { return twin_bits<unsigned>(v); }
inline int __float_as_int(float v) { return twin_bits<int>(v); }
inline float __uint_as_float(unsigned v) { return twin_bits<float>(v); }
inline float __int_as_float(int v) { return twin_bits<float>(v); }
inline long long __double_as_longlong(double v) { return twin_bits<long long>(v); }
inline double __longlong_as_double(long long v) { return twin_bits<double>(v); }

// Shuffles. A lane that reads from one that takes no part gets 0xff bytes (undefined on a card).
template <class T>
inline T twin_shuffle(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
  unsigned long long bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = twin::exchange(mask, bits, source);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  unsigned lane = twin::current->lane, w = static_cast<unsigned>(width);
  return twin_shuffle(mask, value, (lane & ~(w - 1)) | (static_cast<unsigned>(source) & (w - 1)));
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  unsigned lane = twin::current->lane, w = static_cast<unsigned>(width), source = lane ^ static_cast<unsigned>(lanes);
  return twin_shuffle(mask, value, source > (lane | (w - 1)) ? lane : source);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  unsigned lane = twin::current->lane, w = static_cast<unsigned>(width);
  return twin_shuffle(mask, value, (lane & (w - 1)) + delta >= w ? lane : lane + delta);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  unsigned lane = twin::current->lane, w = static_cast<unsigned>(width);
  return twin_shuffle(mask, value, (lane & (w - 1)) < delta ? lane : lane - delta);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) { return twin::ballot(mask, predicate != 0); }
inline int __any_sync(unsigned mask, int predicate) { return twin::ballot(mask, predicate != 0) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return twin::ballot(mask, predicate == 0) == 0; }

// Arithmetic with one rounding. build.sh passes -ffp-contract=off, so that a product and a sum stay two roundings.
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return __builtin_sqrt(a); }

// Conversions saturate, and NaN becomes 0, as on a card (in C++ both are undefined).
template <class To>
inline To twin_saturate(double v) {
  if (v != v) return 0;
  if (v <= static_cast<double>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  if (v >= static_cast<double>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  return static_cast<To>(v);
}
inline int __float2int_rz(float v) { return twin_saturate<int>(v); }
inline int __float2int_rn(float v) { return twin_saturate<int>(__builtin_rintf(v)); }
inline int __float2int_rd(float v) { return twin_saturate<int>(__builtin_floorf(v)); }
inline int __float2int_ru(float v) { return twin_saturate<int>(__builtin_ceilf(v)); }
inline unsigned __float2uint_rz(float v) { return twin_saturate<unsigned>(v); }
inline unsigned __float2uint_rn(float v) { return twin_saturate<unsigned>(__builtin_rintf(v)); }
inline float __int2float_rn(int v) { return static_cast<float>(v); }
inline float __uint2float_rn(unsigned v) { return static_cast<float>(v); }
inline float __double2float_rn(double v) { return static_cast<float>(v); }

// Integers.
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __clz(int v) { return v ? __builtin_clz(static_cast<unsigned>(v)) : 32; }
inline int __ffs(int v) { return __builtin_ffs(v); }

// min and max, with CUDA's overloads (mixed widths are ambiguous there too). NaN loses against a number.
#define TWIN_MIN_MAX(A, B, R)                                                             \
  inline R min(A a, B b) { return static_cast<R>(a) < static_cast<R>(b) ? static_cast<R>(a) : static_cast<R>(b); } \
  inline R max(A a, B b) { return static_cast<R>(a) > static_cast<R>(b) ? static_cast<R>(a) : static_cast<R>(b); }
TWIN_MIN_MAX(int, int, int)
TWIN_MIN_MAX(unsigned, unsigned, unsigned)
TWIN_MIN_MAX(int, unsigned, unsigned)
TWIN_MIN_MAX(unsigned, int, unsigned)
TWIN_MIN_MAX(long, long, long)
TWIN_MIN_MAX(unsigned long, unsigned long, unsigned long)
TWIN_MIN_MAX(long, unsigned long, unsigned long)
TWIN_MIN_MAX(unsigned long, long, unsigned long)
TWIN_MIN_MAX(long long, long long, long long)
TWIN_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
TWIN_MIN_MAX(long long, unsigned long long, unsigned long long)
TWIN_MIN_MAX(unsigned long long, long long, unsigned long long)
#undef TWIN_MIN_MAX
inline float min(float a, float b) { return __builtin_fminf(a, b); }
inline float max(float a, float b) { return __builtin_fmaxf(a, b); }
inline double min(double a, double b) { return __builtin_fmin(a, b); }
inline double max(double a, double b) { return __builtin_fmax(a, b); }

// Loads through the read-only cache are loads.
template <class T>
inline T __ldg(const T* p) { return *p; }

// Atomics on whole numbers: their sum does not depend on the order.
inline int atomicAdd(int* p, int v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
inline unsigned atomicAdd(unsigned* p, unsigned v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
inline unsigned long long atomicAdd(unsigned long long* p, unsigned long long v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
inline unsigned atomicOr(unsigned* p, unsigned v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
inline unsigned atomicAnd(unsigned* p, unsigned v) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); }
inline unsigned atomicExch(unsigned* p, unsigned v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
inline unsigned atomicCAS(unsigned* p, unsigned compare, unsigned v) {
  __atomic_compare_exchange_n(p, &compare, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return compare;
}
inline unsigned atomicMax(unsigned* p, unsigned v) {
  unsigned old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
  while (old < v && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  return old;
}
inline unsigned atomicInc(unsigned* p, unsigned limit) {
  unsigned old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
  while (!__atomic_compare_exchange_n(p, &old, old >= limit ? 0 : old + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  return old;
}

// Named apart from CUDA, for what a kernel source writes as inline PTX there.
// %globaltimer: nanoseconds of a clock that never goes back.
inline unsigned long long twin_nanoseconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<unsigned long long>(t.tv_sec) * 1000000000ull + static_cast<unsigned long long>(t.tv_nsec);
}
// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 with d as both addend and result: 4 floats of d, 4 words of a and
// 2 of b for each lane, laid out as the PTX manual says. Sums in f32, k ascending; a card may round otherwise.
inline void twin_mma_bf16(float* d, const unsigned* a, const unsigned* b) { twin::mma_bf16(d, a, b); }
