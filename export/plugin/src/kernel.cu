// PyramidRoiAlign on CUDA: all levels and RoIs in one launch; one thread pools 16 bytes of channels of one bin.
#include <algorithm>

#include <cuda_runtime.h>

#include "arguments.h"

namespace {

using namespace parsing_rcnn;

constexpr int kThreads = 256;
constexpr std::int64_t kMostBlocks = 1 << 16;  // the loop strides over the rest

template <class T, Layout L>
__global__ void __launch_bounds__(kThreads)
    pool_kernel(const Pyramid pyramid, const float* __restrict__ rois, int size, int ratio, std::int64_t total,
                T* out) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
    std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    for (; item < total; item += stride)
        pool_item<T, L>(pyramid, rois, size, ratio, item, out);
}

struct Launch {
    const prcnn_roi_align_args& args;
    cudaStream_t stream;

    template <class T, Layout L> cudaError_t operator()() const {
        const Pyramid pyramid = pyramid_of(args);
        const std::int64_t total = items<T>(pyramid, args.roi_count, args.size);
        if (total == 0) return cudaSuccess;  // a grid of no blocks is an error to CUDA
        const auto blocks = static_cast<unsigned>(std::min((total + kThreads - 1) / kThreads, kMostBlocks));
        pool_kernel<T, L><<<blocks, kThreads, 0, stream>>>(pyramid, args.rois, args.size, args.sampling_ratio, total,
                                                           static_cast<T*>(args.output));
        return cudaGetLastError();
    }
};

}  // namespace

int32_t prcnn_roi_align_cuda(const prcnn_roi_align_args* args, void* stream) {
    if (problem_of(args)) return PRCNN_BAD_ARGUMENT;
    const Launch launch{*args, static_cast<cudaStream_t>(stream)};
    return dispatch(*args, launch) == cudaSuccess ? PRCNN_OK : PRCNN_CUDA_ERROR;
}
