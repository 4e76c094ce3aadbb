//! Dice, ASSD and RVE of a mask, with the state of empty masks.
