#pragma once
#include <span>
#include <string>

namespace hardbit {

/// Instruction sets with kernels of their own, weakest first within an architecture.
///  - avx2: AVX2, FMA, BMI2 and POPCNT;
///  - avx512bw: AVX-512 F, BW, DQ and VL on top (Skylake-X on);
///  - avx512vnni: VNNI on top (Cascade Lake and Cooper Lake);
///  - avx512: VPOPCNTDQ on top (Ice Lake and Zen 4 on).
enum class Isa { generic, neon, avx2, avx512bw, avx512vnni, avx512 };
const char* name(Isa isa);

/// What this CPU and operating system can run; always includes generic.
std::span<const Isa> available_isas();
/// The best available one, or HARDBIT_ISA. Throws ERR_HARDBIT_UNKNOWN_NAME or ERR_HARDBIT_ISA for a wrong
/// setting.
Isa selected_isa();
/// The same for a given value of HARDBIT_ISA; null or empty for none.
Isa isa_from_setting(const char* setting);
/// The processor's brand string.
std::string cpu_name();

}  // namespace hardbit
