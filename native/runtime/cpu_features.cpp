#include "runtime/cpu_features.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

#include "runtime/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace hardbit {
namespace {

constexpr std::array all_isas = {Isa::generic,  Isa::neon,       Isa::avx2,
                                 Isa::avx512bw, Isa::avx512vnni, Isa::avx512};

std::vector<Isa> detect() {
  std::vector<Isa> isas = {Isa::generic};
#if defined(__x86_64__)
  // These also check that the operating system saves the registers (XGETBV).
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2") ||
      !__builtin_cpu_supports("popcnt")) {
    return isas;
  }
  isas.push_back(Isa::avx2);
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return isas;
  }
  isas.push_back(Isa::avx512bw);
  if (!__builtin_cpu_supports("avx512vnni")) return isas;
  isas.push_back(Isa::avx512vnni);
  if (__builtin_cpu_supports("avx512vpopcntdq")) isas.push_back(Isa::avx512);
#elif defined(__aarch64__)
  isas.push_back(Isa::neon);  // part of the base architecture
#endif
  return isas;
}

std::string names(std::span<const Isa> isas) {
  std::string text;
  for (const Isa isa : isas) text += (text.empty() ? "" : ", ") + std::string(name(isa));
  return text;
}

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::generic:
      return "generic";
    case Isa::neon:
      return "neon";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512bw:
      return "avx512bw";
    case Isa::avx512vnni:
      return "avx512vnni";
    case Isa::avx512:
      return "avx512";
  }
  return "?";
}

std::span<const Isa> available_isas() {
  static const std::vector<Isa> isas = detect();
  return isas;
}

Isa isa_from_setting(const char* setting) {
  const std::span<const Isa> available = available_isas();
  if (setting == nullptr || *setting == '\0') return available.back();
  for (const Isa isa : available) {
    if (std::strcmp(setting, name(isa)) == 0) return isa;
  }
  for (const Isa isa : all_isas) {
    if (std::strcmp(setting, name(isa)) == 0) {
      throw Error("ERR_HARDBIT_ISA", "HARDBIT_ISA is '" + std::string(setting) +
                                         "', which this CPU lacks; it has: " + names(available) + ".");
    }
  }
  throw Error("ERR_HARDBIT_UNKNOWN_NAME", "There is no instruction set '" + std::string(setting) +
                                              "' (HARDBIT_ISA); known: " + names(all_isas) + ".");
}

Isa selected_isa() {
  static const Isa isa = isa_from_setting(std::getenv("HARDBIT_ISA"));
  return isa;
}

std::string cpu_name() {
#if defined(__x86_64__)
  std::array<unsigned, 12> words{};
  if (__get_cpuid_max(0x80000000U, nullptr) >= 0x80000004U) {
    for (unsigned i = 0; i < 3; ++i) {
      unsigned* const w = words.data() + 4 * i;
      __get_cpuid(0x80000002U + i, w, w + 1, w + 2, w + 3);
    }
    std::array<char, 49> text{};
    std::memcpy(text.data(), words.data(), 48);
    std::string brand = text.data();
    brand.erase(
        0, brand.find_first_not_of(' ') == std::string::npos ? brand.size() : brand.find_first_not_of(' '));
    while (!brand.empty() && brand.back() == ' ') brand.pop_back();
    if (!brand.empty()) return brand;
  }
  return "x86-64";
#else
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") || line.starts_with("Model")) {
      const std::size_t colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  }
  return "unknown";
#endif
}

}  // namespace hardbit
