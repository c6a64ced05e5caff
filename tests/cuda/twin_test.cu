// Kernels for twin_test.sh, which tests the stand-in itself: right ones, and ones with a mistake that must be caught.
// Kept to what the headers in twin_test.sh declare: change both.

__device__ unsigned launches_seen;

// The sum of a block's values, whatever the block's size up to 1024.
extern "C" __global__ void block_sum(unsigned n, const float* __restrict__ x, float* __restrict__ out) {
  __shared__ float warps[32];
  float sum = 0.f;
  for (unsigned i = threadIdx.x; i < n; i += blockDim.x) sum = __fadd_rn(sum, x[blockIdx.x * n + i]);
  for (int d = 16; d > 0; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned w = 1; w < blockDim.x / 32; w++) sum += warps[w];
    out[blockIdx.x] = sum;
  }
}

// Each thread takes its neighbours' values. With RACE, without waiting for them.
template <bool RACE>
__device__ __forceinline__ void neighbours(const float* x, float* out) {
  __shared__ float values[256];
  values[threadIdx.x] = x[threadIdx.x];
  if (!RACE) __syncthreads();
  unsigned left = (threadIdx.x + 255) % 256, right = (threadIdx.x + 1) % 256;
  out[threadIdx.x] = values[left] + values[right];
  __syncthreads();
  values[threadIdx.x] = -1.f;
}
extern "C" __global__ void neighbours_right(const float* x, float* out) { neighbours<false>(x, out); }
extern "C" __global__ void neighbours_race(const float* x, float* out) { neighbours<true>(x, out); }

// Writes one element behind the end where `n` is the number of elements.
extern "C" __global__ void past_end(unsigned n, float* x) {
  for (unsigned i = threadIdx.x; i <= n; i += blockDim.x) x[i] = 1.f;
}
template <class T>
__device__ __noinline__ void fill(T* p, unsigned n) {
  for (unsigned i = 0; i < n; i++) p[i] = 1.f;
}
template <class T>
__device__ inline T* scratch() {
  __shared__ T values[64];
  return values;
}
extern "C" __global__ void shared_past_end(float* x) {
  float* values = scratch<float>();
  if (threadIdx.x == 0) fill(values, blockDim.x + 1);
  __syncthreads();
  x[threadIdx.x] = values[threadIdx.x];
}
// The bound is known to the compiler: UndefinedBehaviorSanitizer's case.
extern "C" __global__ void shared_index_past_end(float* x) {
  __shared__ float values[64];
  values[threadIdx.x + 1] = 1.f;
  __syncthreads();
  x[threadIdx.x] = values[threadIdx.x];
}

// Reads shared memory that nobody has written.
extern "C" __global__ void shared_unwritten(float* x) {
  __shared__ float values[64];
  x[threadIdx.x] = values[threadIdx.x];
  __syncthreads();
  values[threadIdx.x] = 0.f;
}

// Half of the threads leave before a barrier; lanes of a mask that never come.
extern "C" __global__ void lost_barrier(float* x) {
  if (threadIdx.x >= 32) return;
  __syncthreads();
  x[threadIdx.x] = 1.f;
}
extern "C" __global__ void lost_lane(float* x) {
  if (threadIdx.x != 5) x[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.f, 1);
  else __syncthreads();
}

// One tile: a is 16 x 16, b is 16 x 8, d is 16 x 8, all by rows; bf16 in pairs.
extern "C" __global__ void mma_tile(const unsigned short* a, const unsigned short* b, float* d) {
  unsigned g = threadIdx.x / 4, q = threadIdx.x % 4, af[4], bf[2];
  for (unsigned i = 0; i < 4; i++) {
    const unsigned short* p = a + (g + i % 2 * 8) * 16 + 2 * q + i / 2 * 8;
    af[i] = p[0] | (unsigned)p[1] << 16;
  }
  for (unsigned i = 0; i < 2; i++) {
    const unsigned short* p = b + (2 * q + i * 8) * 8 + g;
    bf[i] = p[0] | (unsigned)p[8] << 16;
  }
  float df[4] = {0.f, 1.f, 2.f, 3.f};
  twin_mma_bf16(df, af, bf);
  for (unsigned i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + 2 * q + i % 2] = df[i];
}

// Every function that exchanges values, once; out has 16 words for each of 32 lanes.
extern "C" __global__ void exchanges(unsigned long long* out) {
  unsigned lane = threadIdx.x;
  unsigned long long* o = out + lane * 16;
  o[0] = __shfl_sync(0xffffffffu, lane * 3, 7);
  o[1] = __shfl_xor_sync(0xffffffffu, (int)lane, 5);
  o[2] = __shfl_down_sync(0xffffffffu, lane, 9);
  o[3] = __shfl_up_sync(0xffffffffu, lane, 2);
  o[4] = (unsigned long long)__shfl_xor_sync(0xffffffffu, (double)lane + 0.5, 1);
  o[5] = __ballot_sync(0xffffffffu, lane % 3 == 0);
  o[6] = __any_sync(0xffffffffu, lane == 31);
  o[7] = __all_sync(0xffffffffu, lane != 31);
  __syncwarp();
  if (lane < 16) o[8] = __shfl_down_sync(0x0000ffffu, lane, 8, 16);
  else o[8] = __shfl_sync(0xffff0000u, lane, 31);
  o[9] = atomicAdd(&launches_seen, 1);
  o[10] = (unsigned)__float2int_rz(__uint_as_float(0x7fc00000u));
  o[11] = (unsigned)__float2int_rz(3e9f);
  o[12] = max(min(lane, 20u), 3u);
  o[13] = __float_as_uint(__fmaf_rn(1.f + 0x1p-12f, 1.f + 0x1p-12f, -1.f));
  uint4 v = make_uint4(lane, lane + 1, lane + 2, lane + 3);
  reinterpret_cast<uint4*>(o)[7] = v;
}

// Counts up in mapped memory, a step for each launch.
extern "C" __global__ void step(volatile unsigned* counter, unsigned wait_nanoseconds) {
  unsigned long long begin = twin_nanoseconds();
  while (twin_nanoseconds() - begin < wait_nanoseconds) {
  }
  counter[0] = counter[0] + 1;
  __threadfence_system();
}
