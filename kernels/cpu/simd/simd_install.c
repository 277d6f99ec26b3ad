#include "simd_install.h"

void SIMD(simd_install)(Backend *be) {
  SIMD(simd_install_elementwise)(be);
  SIMD(simd_install_rows)(be);
  SIMD(simd_install_norm)(be);
  SIMD(simd_install_rope)(be);
  SIMD(simd_install_attention)(be);
  SIMD(simd_install_attention_back)(be);
  SIMD(simd_install_gemm)(be);
  SIMD(simd_install_lora)(be);
  SIMD(simd_install_loss)(be);
  SIMD(simd_install_optim)(be);
}
