// Golden numbers worked out by hand, and unusual RoIs, through the C ABI. Built with sanitizers by `make plugin-test`.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <vector>

#include "pyramid_roi_align.h"

namespace {

int failures = 0;

void expect(bool held, const char* what) {
    if (held) return;
    std::fprintf(stderr, "failed: %s\n", what);
    ++failures;
}

// Two levels (strides 4 and 8) of one channel: P2 is 8x8 with value x + 10 y, P3 is 4x4 and holds 1000 everywhere.
struct Tiny {
    std::vector<float> p2 = std::vector<float>(64), p3 = std::vector<float>(16, 1000.0f);
    std::vector<prcnn_level> levels;

    Tiny() {
        for (int y = 0; y < 8; ++y)
            for (int x = 0; x < 8; ++x) p2[static_cast<std::size_t>(8 * y + x)] = static_cast<float>(x + 10 * y);
        levels = {{p2.data(), 8, 8}, {p3.data(), 4, 4}};
    }

    std::vector<float> pool(const std::vector<float>& rois, int size) const {
        const auto count = static_cast<std::int64_t>(rois.size() / 4);
        std::vector<float> out(static_cast<std::size_t>(count * size * size), -1.0f);
        const prcnn_roi_align_args args{levels.data(), rois.data(), out.data(), count, 2, 2, 1, 1, size, 2,
                                        PRCNN_FLOAT, PRCNN_NCHW};
        expect(prcnn_roi_align(&args) == PRCNN_OK, "tiny pyramid is accepted");
        return out;
    }
};

void golden() {
    const Tiny tiny;
    // (4, 8, 20, 24) is (1, 2, 5, 6) on P2; a bin is 2x2 cells, its samples at 0.5 and 1.5: the mean is at its middle
    const auto found = tiny.pool({4, 8, 20, 24}, 2);
    const float wanted[] = {2 + 30, 4 + 30, 2 + 50, 4 + 50};
    for (std::size_t i = 0; i < 4; ++i) expect(std::fabs(found[i] - wanted[i]) < 1e-4f, "bins of a linear ramp");
    // sides of 112 are the first of P3, whose lowest border is 112
    expect(tiny.pool({0, 0, 112, 112}, 1)[0] > 100.0f, "a side of 112 reads P3");
    expect(tiny.pool({0, 0, 111.99f, 111.99f}, 1)[0] < 100.0f, "a side of 111.99 reads P2");
}

void unusual() {
    const Tiny tiny;
    const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    const float most = std::numeric_limits<float>::max();
    for (const auto& box : std::vector<std::vector<float>>{{nan, 0, 8, 8},
                                                           {0, nan, nan, 8},
                                                           {-inf, -inf, inf, inf},
                                                           {0, 0, inf, 8},
                                                           {-most, -most, most, most},
                                                           {500, 500, 600, 600},
                                                           {-600, -600, -500, -500}})
        for (const float value : tiny.pool(box, 3)) expect(value == 0.0f, "nothing lies under an impossible box");
    // empty at (3, 4) on P2: one cell, samples at 3.25 and 3.75, 4.25 and 4.75
    expect(std::fabs(tiny.pool({12, 16, 12, 16}, 1)[0] - (3.5f + 45.0f)) < 1e-4f, "an empty box is one cell");
    expect(std::fabs(tiny.pool({12, 16, 8, 4}, 1)[0] - (3.5f + 45.0f)) < 1e-4f, "a box turned round is one cell");
    expect(tiny.pool({}, 7).empty(), "no box");
}

// Every type and layout, in buffers of exactly their size, so that a read or write beside them is seen.
void layouts() {
    constexpr int channels = 13, stride = 16, size = 3, sides[] = {24, 12, 6, 3};
    const float big = 1e6f;
    const std::vector<float> rois{-20, -20, 40, 40, 0, 0, 96, 96, 90, 90, 100, 100, -big, -big, big, big,
                                  10,  10,  10, 10, 0, 0, 300, 5, 95, 0,  96,  96};
    const auto count = rois.size() / 4;
    const auto run = [&](auto zero, std::int32_t type, std::int32_t layout, auto write, auto read) {
        const bool last = layout == PRCNN_NHWC;
        std::vector<std::vector<decltype(zero)>> maps;
        std::vector<prcnn_level> levels;
        for (const int side : sides) {
            maps.emplace_back(static_cast<std::size_t>(side * side * (last ? stride : channels)), zero);
            for (int cell = 0; cell < side * side; ++cell)
                for (int c = 0; c < channels; ++c)
                    maps.back()[static_cast<std::size_t>(last ? cell * stride + c : c * side * side + cell)] =
                        write((cell * 7 + c * 3) % 17);
        }
        for (std::size_t i = 0; i < 4; ++i) levels.push_back({maps[i].data(), sides[i], sides[i]});
        std::vector<decltype(zero)> out(count * size * size * static_cast<std::size_t>(last ? stride : channels), zero);
        const prcnn_roi_align_args args{levels.data(), rois.data(), out.data(), static_cast<std::int64_t>(count),
                                        4, 2, channels, stride, size, 2, type, layout};
        expect(prcnn_roi_align(&args) == PRCNN_OK, "a layout is accepted");
        std::vector<float> found;
        for (std::size_t n = 0; n < count; ++n)
            for (std::size_t c = 0; c < channels; ++c)
                for (std::size_t bin = 0; bin < size * size; ++bin)
                    found.push_back(read(out[last ? (n * size * size + bin) * stride + c
                                                  : (n * channels + c) * size * size + bin]));
        return found;
    };
    const auto same = [](float value) { return value; };
    // whole numbers below 2048 as IEEE half: the exponent is that of the highest bit, the rest is the mantissa
    const auto half = [](int value) {
        int exponent = 0;
        while ((value >> exponent) > 1) ++exponent;
        const int bits = ((exponent + 15) << 10) + ((value << (10 - exponent)) & 1023);
        return static_cast<std::uint16_t>(value == 0 ? 0 : bits);
    };
    const auto number = [](std::uint16_t bits) {
        const int exponent = bits >> 10, mantissa = bits & 1023;
        return exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                             : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
    };
    const auto wanted = run(0.0f, PRCNN_FLOAT, PRCNN_NCHW, [](int v) { return static_cast<float>(v); }, same);
    const auto last = run(0.0f, PRCNN_FLOAT, PRCNN_NHWC, [](int v) { return static_cast<float>(v); }, same);
    const std::uint16_t none = 0;
    const auto halves = run(none, PRCNN_HALF, PRCNN_NCHW, half, number);
    const auto halves_last = run(none, PRCNN_HALF, PRCNN_NHWC, half, number);
    float largest = 0.0f;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        largest = std::fmax(largest, wanted[i]);
        expect(wanted[i] == last[i] && halves[i] == halves_last[i], "layouts agree");
        expect(std::fabs(wanted[i] - halves[i]) <= wanted[i] / 2048.0f, "half is float, rounded");
    }
    expect(largest > 5.0f, "something was read");
}

void refusals() {
    const Tiny tiny;
    const std::vector<float> rois{0, 0, 8, 8};
    std::vector<float> out(1);
    const prcnn_roi_align_args good{tiny.levels.data(), rois.data(), out.data(), 1, 2, 2, 1, 1, 1, 2, PRCNN_FLOAT,
                                    PRCNN_NCHW};
    expect(prcnn_roi_align_problem(&good) == nullptr, "good arguments have no problem");
    const auto refused = [&](auto change, const char* what) {
        prcnn_roi_align_args args = good;
        change(args);
        expect(prcnn_roi_align(&args) == PRCNN_BAD_ARGUMENT && prcnn_roi_align_problem(&args), what);
    };
    refused([](auto& a) { a.level_count = 9; }, "nine levels");
    refused([](auto& a) { a.levels = nullptr; }, "no levels");
    refused([](auto& a) { a.channels = 0; }, "no channels");
    constexpr auto most = std::numeric_limits<std::int32_t>::max();
    refused([](auto& a) { a.channels = PRCNN_MOST_CHANNELS + 1, a.roi_count = 0; }, "too many channels");
    refused([](auto& a) { a.channels = most, a.roi_count = 0; }, "as many channels as there are numbers");
    refused([](auto& a) { a.layout = 7; }, "unknown layout");
    refused([](auto& a) { a.layout = PRCNN_NHWC, a.channel_stride = 0; }, "stride below the channels");
    refused([](auto& a) { a.type = 7; }, "unknown type");
    refused([](auto& a) { a.size = 0; }, "no size");
    refused([](auto& a) { a.sampling_ratio = 0; }, "no samples");
    refused([](auto& a) { a.roi_count = -1; }, "a negative count");
    refused([](auto& a) { a.roi_count = (INT64_MAX >> 2), a.size = 256; }, "too many items");
    refused([](auto& a) { a.roi_count = (INT64_MAX >> 2); }, "too many bytes of RoIs");
    refused([](auto& a) { a.roi_count = 1 << 20, a.size = 256, a.layout = PRCNN_NHWC, a.channel_stride = most; },
            "a channel stride that makes too many bytes of output");
    const std::vector<prcnn_level> endless{{tiny.p2.data(), most, most}, {tiny.p3.data(), 4, 4}};
    refused([&](auto& a) { a.levels = endless.data(); }, "a level beyond any memory");
    refused([](auto& a) { a.rois = nullptr; }, "no rois");
    expect(prcnn_roi_align(nullptr) == PRCNN_BAD_ARGUMENT, "no arguments");
}

}  // namespace

int main() {
    golden();
    unusual();
    layouts();
    refusals();
    if (failures == 0) std::puts("ok");
    return failures == 0 ? 0 : 1;
}
