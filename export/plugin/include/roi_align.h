// PyramidRoiAlign: the arithmetic, once, for the CPU and for CUDA.
//
// RoIAlign of Mask R-CNN (aligned=False, corners not shifted by half a pixel) on the pyramid level that FPN equation 1
// gives. RoIs are (x1, y1, x2, y2) in canvas pixels, always float; features are float or IEEE half, sums are float.
//
// What unusual RoIs give, on every device:
//   a coordinate that is NaN or infinite    zeros
//   outside of the feature map              zeros (a sample further than one cell outside counts as 0)
//   empty or turned round                   as if it were one cell wide or high, as in torchvision
//   so large that its width overflows       zeros
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define PRCNN_HD __host__ __device__ __forceinline__
#else
#define PRCNN_HD inline
#endif

namespace parsing_rcnn {

constexpr int kMaxLevels = 8;

// One 16-byte load of 8 halves; 4 floats likewise.
struct Half {
    std::uint16_t bits;
};
template <class T> struct Vector {
    static constexpr int size = 16 / static_cast<int>(sizeof(T));
};

enum class Layout : std::int32_t { kNchw = 0, kNhwc = 1 };

struct Level {
    const void* data;
    std::int32_t height, width;
};

// Features of one picture. Level i has stride 2^(first + i). With kNhwc one cell holds `stride` channels >= `channels`.
// `aligned`: every group of Vector<T>::size channels starts at a multiple of 16 bytes and lies inside of its cell.
struct Pyramid {
    Level levels[kMaxLevels];
    std::int32_t count, first, channels, stride;
    bool aligned;
};

struct Box {
    float x1, y1, x2, y2;
};

// Rounded by itself: what says where a sample lies must not be fused. A fused multiply-add is no less exact, but at cell
// 300 one bit of a place is 3e-5 of a cell, and the CPU and the GPU would differ by that times the features' slope.
PRCNN_HD float product(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;  // compiled with -ffp-contract=off
#endif
}

PRCNN_HD float sum_of(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

// Where sample `part` of `parts` of bin `bin` lies, in cells.
PRCNN_HD float place(float start, float step, int bin, int part, float parts) {
    const float inside = product(static_cast<float>(part) + 0.5f, step) / parts;
    return sum_of(sum_of(start, product(static_cast<float>(bin), step)), inside);
}

PRCNN_HD float to_float(float value) { return value; }

PRCNN_HD float to_float(Half value) {
#ifdef __CUDA_ARCH__
    return __half2float(__ushort_as_half(value.bits));
#else
    const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
    const std::uint32_t exponent = (value.bits >> 10) & 31u, mantissa = value.bits & 1023u;
    if (exponent == 0) {
        const float small = std::ldexp(static_cast<float>(mantissa), -24);
        return sign ? -small : small;
    }
    const std::uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
    const std::uint32_t bits = sign | (wide << 23) | (mantissa << 13);
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
#endif
}

PRCNN_HD void from_float(float value, float& out) { out = value; }

// Round to nearest, ties to even; beyond 65504 infinite.
PRCNN_HD void from_float(float value, Half& out) {
#ifdef __CUDA_ARCH__
    out.bits = __half_as_ushort(__float2half_rn(value));
#else
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    std::uint32_t half;
    if (magnitude > 0x7f800000u) {
        half = 0x7fffu;
    } else if (magnitude >= 0x477ff000u) {
        half = 0x7c00u;
    } else if (magnitude < 0x38800000u) {  // subnormal as half: the addition rounds at 2^-24
        const float scaled = std::fabs(value) + 0.5f;
        std::uint32_t rounded;
        std::memcpy(&rounded, &scaled, sizeof rounded);
        half = rounded - 0x3f000000u;
    } else {
        half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    }
    out.bits = static_cast<std::uint16_t>(sign | half);
#endif
}

// FPN equation 1: floor(4 + log2(sqrt(area) / 224 + 1e-6)) cut to the levels that exist, as an index from the first.
// Compared with powers of two instead of taking a logarithm: sqrt and division are correctly rounded on every device,
// so the CPU and the GPU never disagree. It differs from a float logarithm only where that one rounds up across the
// border, for sides up to 0.0001 pixels below it. An area that is NaN gives the first level.
PRCNN_HD int level_of(Box box, int first, int count) {
    const float area = (box.x2 - box.x1) * (box.y2 - box.y1);
    const float scale = sqrtf(area > 0.0f ? area : 0.0f) / 224.0f + 1e-6f;
    int level = 0;
    float border = ldexpf(1.0f, first + 1 - 4);
    while (level < count - 1 && scale >= border) {
        ++level;
        border *= 2.0f;
    }
    return level;
}

PRCNN_HD bool is_finite(Box box) {
    // x - x is 0 for every number, NaN for NaN and infinity
    return box.x1 - box.x1 == 0.0f && box.y1 - box.y1 == 0.0f && box.x2 - box.x2 == 0.0f && box.y2 - box.y2 == 0.0f;
}

// The four cells around a sample and their weights.
struct Sample {
    std::int32_t y0, x0, y1, x1;
    float w00, w01, w10, w11;
};

// False where the sample lies further than one cell outside, which NaN and infinity count as.
PRCNN_HD bool sample_at(float y, float x, int height, int width, Sample& sample) {
    const bool inside = y >= -1.0f && y <= static_cast<float>(height) && x >= -1.0f && x <= static_cast<float>(width);
    if (!inside) return false;
    y = y > 0.0f ? y : 0.0f;
    x = x > 0.0f ? x : 0.0f;
    sample.y0 = static_cast<std::int32_t>(y);
    sample.x0 = static_cast<std::int32_t>(x);
    float ly = y - static_cast<float>(sample.y0), lx = x - static_cast<float>(sample.x0);
    if (sample.y0 >= height - 1) {
        sample.y0 = height - 1;
        ly = 0.0f;
    }
    if (sample.x0 >= width - 1) {
        sample.x0 = width - 1;
        lx = 0.0f;
    }
    sample.y1 = sample.y0 + (sample.y0 < height - 1 ? 1 : 0);
    sample.x1 = sample.x0 + (sample.x0 < width - 1 ? 1 : 0);
    sample.w00 = (1.0f - ly) * (1.0f - lx);
    sample.w01 = (1.0f - ly) * lx;
    sample.w10 = ly * (1.0f - lx);
    sample.w11 = ly * lx;
    return true;
}

// Reads up to Vector<T>::size channels of one cell and adds them, weighted, to `sum`.
template <class T, Layout L>
PRCNN_HD void add_cell(const T* data, std::int64_t cell, std::int64_t area, const Pyramid& pyramid, int channel,
                       int wanted, float weight, float* sum) {
    constexpr int size = Vector<T>::size;
    if (L == Layout::kNhwc) {
        const T* at = data + cell * pyramid.stride + channel;
#ifdef __CUDA_ARCH__
        if (pyramid.aligned) {
            union {
                uint4 whole;
                T parts[size];
            } loaded;
            loaded.whole = __ldg(reinterpret_cast<const uint4*>(at));
#pragma unroll
            for (int i = 0; i < size; ++i) sum[i] += weight * to_float(loaded.parts[i]);
            return;
        }
#endif
        for (int i = 0; i < wanted; ++i) sum[i] += weight * to_float(at[i]);
        return;
    }
    const T* at = data + channel * area + cell;
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
    for (int i = 0; i < size; ++i)
        if (i < wanted) sum[i] += weight * to_float(at[i * area]);
}

// Mean of ratio x ratio samples of bin (row, column) of `box`, for Vector<T>::size channels from `channel` on.
template <class T, Layout L>
PRCNN_HD void pool_bin(const Pyramid& pyramid, Box box, int size, int ratio, int row, int column, int channel,
                       float* sum) {
    for (int i = 0; i < Vector<T>::size; ++i) sum[i] = 0.0f;
    if (!is_finite(box)) return;
    const int index = level_of(box, pyramid.first, pyramid.count);
    const Level level = pyramid.levels[index];
    const T* data = static_cast<const T*>(level.data);
    const float scale = ldexpf(1.0f, -(pyramid.first + index));
    const float left = product(box.x1, scale), top = product(box.y1, scale);
    const float width = fmaxf(product(box.x2, scale) - left, 1.0f), height = fmaxf(product(box.y2, scale) - top, 1.0f);
    const float step_x = width / static_cast<float>(size), step_y = height / static_cast<float>(size);
    const std::int64_t area = static_cast<std::int64_t>(level.height) * level.width;
    const int rest = pyramid.channels - channel, wanted = rest < Vector<T>::size ? rest : Vector<T>::size;
    const float parts = static_cast<float>(ratio);
    for (int j = 0; j < ratio; ++j) {
        const float y = place(top, step_y, row, j, parts);
        for (int i = 0; i < ratio; ++i) {
            const float x = place(left, step_x, column, i, parts);
            Sample s;
            if (!sample_at(y, x, level.height, level.width, s)) continue;
            const std::int64_t upper = static_cast<std::int64_t>(s.y0) * level.width;
            const std::int64_t lower = static_cast<std::int64_t>(s.y1) * level.width;
            add_cell<T, L>(data, upper + s.x0, area, pyramid, channel, wanted, s.w00, sum);
            add_cell<T, L>(data, upper + s.x1, area, pyramid, channel, wanted, s.w01, sum);
            add_cell<T, L>(data, lower + s.x0, area, pyramid, channel, wanted, s.w10, sum);
            add_cell<T, L>(data, lower + s.x1, area, pyramid, channel, wanted, s.w11, sum);
        }
    }
    const float share = 1.0f / (parts * parts);
    for (int i = 0; i < Vector<T>::size; ++i) sum[i] *= share;
}

// One item of work: a bin of a RoI, Vector<T>::size channels. Items of neighbouring threads touch neighbouring memory:
// with kNhwc the channels run fastest, with kNchw the bins do.
template <class T, Layout L>
PRCNN_HD void pool_item(const Pyramid& pyramid, const float* rois, int size, int ratio, std::int64_t item, T* out) {
    constexpr int vector = Vector<T>::size;
    const int groups = (pyramid.channels + vector - 1) / vector, bins = size * size;
    const std::int64_t roi = item / (static_cast<std::int64_t>(groups) * bins);
    const int inner = static_cast<int>(item - roi * groups * bins);
    const int group = L == Layout::kNhwc ? inner % groups : inner / bins;
    const int bin = L == Layout::kNhwc ? inner / groups : inner % bins;
    const Box box{rois[roi * 4], rois[roi * 4 + 1], rois[roi * 4 + 2], rois[roi * 4 + 3]};
    const int channel = group * vector, rest = pyramid.channels - channel;
    float sum[vector];
    pool_bin<T, L>(pyramid, box, size, ratio, bin / size, bin % size, channel, sum);
    T* at = L == Layout::kNhwc ? out + (roi * bins + bin) * pyramid.stride + channel
                               : out + (roi * pyramid.channels + channel) * bins + bin;
    const std::int64_t step = L == Layout::kNhwc ? 1 : bins;
#ifdef __CUDA_ARCH__
    if (L == Layout::kNhwc && pyramid.aligned) {
        union {
            uint4 whole;
            T parts[vector];
        } stored;
#pragma unroll
        for (int i = 0; i < vector; ++i) from_float(i < rest ? sum[i] : 0.0f, stored.parts[i]);
        *reinterpret_cast<uint4*>(at) = stored.whole;
        return;
    }
#endif
    for (int i = 0; i < vector && i < rest; ++i) from_float(sum[i], at[i * step]);
}

template <class T> inline std::int64_t items(const Pyramid& pyramid, std::int64_t rois, int size) {
    constexpr int vector = Vector<T>::size;
    return rois * ((pyramid.channels + vector - 1) / vector) * size * size;
}

}  // namespace parsing_rcnn
