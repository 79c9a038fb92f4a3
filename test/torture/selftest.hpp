#pragma once

namespace torture {

// Feeds the checker journals with one fault each, and odd but right ones. Prints what it missed or made up; true:
// nothing.
bool SelfTest();

}  // namespace torture
