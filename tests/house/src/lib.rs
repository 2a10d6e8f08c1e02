//! The rules of the house, as tests: who may depend on whom, and what the deciding code may never touch.
//! See `docs/ARCHITECTURE.md`.
