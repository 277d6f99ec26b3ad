#include "cpu_reference.h"

void cpu_reference_install(Backend *be) {
  ref_install_elementwise(be);
  ref_install_rows(be);
  ref_install_norm(be);
  ref_install_rope(be);
  ref_install_attention(be);
  ref_install_linear(be);
  ref_install_lora(be);
  ref_install_loss(be);
  ref_install_optim(be);
  ref_install_choice(be);
}
