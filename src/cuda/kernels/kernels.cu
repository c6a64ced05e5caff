// All kernels of a training step and of an evaluation, in one module.
#include "batch.cuh"
#include "block.cuh"
#include "common.cuh"
#include "conv.cuh"
#include "gates.cuh"
#include "head.cuh"
#include "optimizer.cuh"
#include "product.cuh"
