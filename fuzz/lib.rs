//! What each fuzz target does with its bytes, as plain functions, so that an ordinary test replays the corpora.
