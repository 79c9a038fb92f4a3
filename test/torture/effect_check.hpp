// What handlers have done: for each call that was committed the row it wrote, which is its take, and the message it
// sent.
#pragma once

namespace torture {

struct Context;

// Each call that was committed has its echo, and nothing else has. That no message is handled twice, or handled and
// ended otherwise, is MessageCheck's.
void CheckEchoes(Context& context);

}  // namespace torture
