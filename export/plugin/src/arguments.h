// From the C ABI to the arithmetic's own types, for the CPU and the CUDA library alike.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "pyramid_roi_align.h"
#include "roi_align.h"

namespace parsing_rcnn {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

// Values from one cell, or one bin, to the next.
inline std::int64_t values_of_a_cell(const prcnn_roi_align_args& args) {
    return args.layout == PRCNN_NHWC ? args.channel_stride : args.channels;
}

// How many RoIs there may be before a place in `rois` or `output`, or a number of items, is beyond 63 bits.
inline std::int64_t most_rois(const prcnn_roi_align_args& args) {
    constexpr std::int64_t bytes_of_a_roi = 4 * sizeof(float), bytes_of_a_value = sizeof(float);
    return kMost / std::max(bytes_of_a_roi, args.size * args.size * values_of_a_cell(args) * bytes_of_a_value);
}

inline const char* problem_of(const prcnn_roi_align_args* args) {
    if (!args) return "no arguments";
    if (args->level_count < 1 || args->level_count > kMaxLevels || !args->levels)
        return "between 1 and 8 levels are needed";
    if (args->first_level < 0 || args->first_level > 10) return "the first level must be between 0 and 10";
    if (args->channels < 1 || args->channels > PRCNN_MOST_CHANNELS)
        return "features must have between 1 and 65536 channels";
    if (args->layout != PRCNN_NCHW && args->layout != PRCNN_NHWC) return "the layout must be NCHW or NHWC";
    if (args->layout == PRCNN_NHWC && args->channel_stride < args->channels)
        return "the channel stride is below the channels";
    if (args->type != PRCNN_FLOAT && args->type != PRCNN_HALF) return "features must be float or half";
    if (args->size < 1 || args->size > 256) return "the output size must be between 1 and 256";
    if (args->sampling_ratio < 1 || args->sampling_ratio > 16) return "the sampling ratio must be between 1 and 16";
    if (args->roi_count < 0) return "the number of RoIs is negative";
    if (args->roi_count > most_rois(*args)) return "so many RoIs would take 2^63 bytes or more";
    if (args->roi_count > 0 && (!args->rois || !args->output)) return "rois and output must be given";
    for (int i = 0; i < args->level_count; ++i) {
        const prcnn_level& level = args->levels[i];
        if (level.height < 1 || level.width < 1) return "a level has no cells";
        if (level.height > kMost / level.width / values_of_a_cell(*args) / std::int64_t{sizeof(float)})
            return "a level would take 2^63 bytes or more";
        if (args->roi_count > 0 && !level.data) return "a level has no data";
    }
    return nullptr;
}

inline bool is_aligned(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

inline Pyramid pyramid_of(const prcnn_roi_align_args& args) {
    Pyramid pyramid{};
    pyramid.count = args.level_count;
    pyramid.first = args.first_level;
    pyramid.channels = args.channels;
    pyramid.stride = args.channel_stride;
    for (int i = 0; i < args.level_count; ++i)
        pyramid.levels[i] = Level{args.levels[i].data, args.levels[i].height, args.levels[i].width};
    const int vector = args.type == PRCNN_HALF ? Vector<Half>::size : Vector<float>::size;
    pyramid.aligned = args.channel_stride % vector == 0 && is_aligned(args.output);
    for (int i = 0; i < args.level_count; ++i) pyramid.aligned = pyramid.aligned && is_aligned(args.levels[i].data);
    return pyramid;
}

// Calls run.operator()<T, Layout>() for the type and layout of `args`.
template <class Run> auto dispatch(const prcnn_roi_align_args& args, Run run) {
    const bool last = args.layout == PRCNN_NHWC;
    if (args.type == PRCNN_HALF)
        return last ? run.template operator()<Half, Layout::kNhwc>() : run.template operator()<Half, Layout::kNchw>();
    return last ? run.template operator()<float, Layout::kNhwc>() : run.template operator()<float, Layout::kNchw>();
}

}  // namespace parsing_rcnn
