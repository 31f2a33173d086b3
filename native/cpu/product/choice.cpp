#include "cpu/product/choice.h"

#include "cpu/product/plan.h"

// Measured, one thread, best of many runs: ns an output pixel, codes to bits. Images of 28² without padding,
// then 32², 32² and 16² with it. avx512bw and avx512vnni on an Intel Cascade Lake server core, the others on
// an AMD Zen 4 one.
//
//   layer              isa         planes: 1       2       4       8     bytes
//   5x5, 1 -> 20       generic         91.0     167     320     625       418
//                      avx2            15.3    23.1    39.4    70.0      17.6
//                      avx512bw        33.1    49.5    77.7     136      31.7
//                      avx512vnni      32.4    43.8    73.3     128      22.9
//                      avx512           9.2    12.3    18.4    30.5      11.4
//   3x3, 3 -> 128      generic          460     862    1660    3264      2654
//                      avx2            35.3    56.5    95.3     175      77.0
//                      avx512bw        68.9     107     190     356      83.6
//                      avx512vnni      67.6    99.0     178     343      43.8
//                      avx512          11.8    17.1    28.8    52.1      30.9
//   7x7, 3 -> 64       generic          963    1911    3775    7543      4428
//                      avx2            36.5    64.9     121     234       108
//                      avx512bw        74.8     122     233     444       123
//                      avx512vnni      69.5     116     223     422      51.6
//                      avx512          18.6    32.8    62.0     125      48.7
//   3x3, 64 -> 64      generic         3361    6674   13339   26934     14944
//                      avx2            80.6     157     306     611       348
//                      avx512bw         122     216     400     764       398
//                      avx512vnni       113     205     373     705       160
//                      avx512          36.3    72.3     140     278       164
//   dense, 784 -> 600  generic        42999   85541  171532  344583    189252
//                      avx2            1034    1942    3777    7387      4363
//                      avx512bw        1413    2432    4524    8765      5128
//                      avx512vnni      1311    2389    4278    8154      2221
//                      avx512           479     883    1692    3329      2127
//
// The table below is fitted to these, and picks the faster one but where they are within some percent of each
// other. NEON's row is counted from its instructions, three for a word against four channels of either kind.

namespace hardbit::cpu {
namespace {

constexpr OperandCosts costs[] = {
    {.isa = Isa::generic, .plane = 0, .patch_row = 1, .bytes = 56},
    {.isa = Isa::neon, .plane = 0, .patch_row = 12, .bytes = 100},
    {.isa = Isa::avx2, .plane = 1, .patch_row = 12, .bytes = 60},
    {.isa = Isa::avx512bw, .plane = 6, .patch_row = 26, .bytes = 70},
    {.isa = Isa::avx512vnni, .plane = 6, .patch_row = 26, .bytes = 28},
    {.isa = Isa::avx512, .plane = 0, .patch_row = 25, .bytes = 62},
};

}  // namespace

const OperandCosts& operand_costs(Isa isa) {
  const OperandCosts* found = &costs[0];
  for (const OperandCosts& row : costs) {
    if (row.isa == isa) found = &row;
  }
  return *found;
}

Operand choose_operand(const ops::Conv2d& conv, int bits, const ProductRows& rows) {
  const OperandCosts& cost = operand_costs(rows.bits.isa);
  const std::int64_t outputs = conv.m / conv.geometry.groups;
  const auto channels = [&](const ProductKernel& kernel) {
    return conv.geometry.groups * round_up(outputs, kernel.lanes);
  };
  const WindowWords words = window_words(conv, rows);
  const std::int64_t making = words.patches ? conv.kh * cost.patch_row * conv.geometry.groups : 0;
  const std::int64_t by_bits = bits * ((words.bits + cost.plane) * channels(rows.bits) + making);
  const std::int64_t by_bytes = words.bytes * channels(rows.bytes);
  return by_bytes * cost.bytes < by_bits * 100 ? Operand::bytes : Operand::bits;
}

std::vector<ChoiceExample> choice_examples(const ProductRows& rows) {
  struct Layer {
    const char* name;
    std::int64_t channels, outputs, side;
  };
  constexpr Layer layers[] = {{"5x5, 1 -> 20", 1, 20, 5},
                              {"3x3, 3 -> 128", 3, 128, 3},
                              {"7x7, 3 -> 64", 3, 64, 7},
                              {"3x3, 64 -> 64", 64, 64, 3},
                              {"dense, 784 -> 600", 784, 600, 1}};
  std::vector<ChoiceExample> examples;
  for (const Layer& layer : layers) {
    const std::int64_t side = layer.side;
    const ops::Conv2d conv{.geometry = {},
                           .n = 1,
                           .h = side,
                           .w = side,
                           .c = layer.channels,
                           .m = layer.outputs,
                           .kh = side,
                           .kw = side,
                           .oh = 1,
                           .ow = 1};
    for (const int bits : {1, 2, 4, 8})
      examples.push_back({layer.name, bits, choose_operand(conv, bits, rows)});
  }
  return examples;
}

}  // namespace hardbit::cpu
