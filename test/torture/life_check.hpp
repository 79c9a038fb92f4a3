// Dead letters that were redriven. The message that was sent, and each one that redriving made of it, is a life of one
// number. A life ends as any message does; if there is a next one, it has ended as a dead letter and in no other way,
// and nobody was handed it after the redriving. So of all lives exactly one ends processed, archived or as a dead
// letter that stays.
#pragma once

namespace torture {

struct Context;

// What was redriven had been sent. The rest is MessageCheck::CheckRedriven.
void CheckLives(Context& context);

}  // namespace torture
