// PyramidRoiAlign on the CPU, behind the C ABI: the reference that the kernel is held against.
#include "arguments.h"

namespace {

using namespace parsing_rcnn;

struct Loop {
    const prcnn_roi_align_args& args;

    template <class T, Layout L> void operator()() const {
        const Pyramid pyramid = pyramid_of(args);
        const std::int64_t total = items<T>(pyramid, args.roi_count, args.size);
        for (std::int64_t item = 0; item < total; ++item)
            pool_item<T, L>(pyramid, args.rois, args.size, args.sampling_ratio, item, static_cast<T*>(args.output));
    }
};

}  // namespace

int32_t prcnn_abi_version(void) { return PRCNN_ABI_VERSION; }

const char* prcnn_roi_align_problem(const prcnn_roi_align_args* args) { return problem_of(args); }

int32_t prcnn_roi_align(const prcnn_roi_align_args* args) {
    if (problem_of(args)) return PRCNN_BAD_ARGUMENT;
    dispatch(*args, Loop{*args});
    return PRCNN_OK;
}
