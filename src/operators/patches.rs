//! Windows of a case, as views.
