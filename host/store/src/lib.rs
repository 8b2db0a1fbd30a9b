//! Journal, releases, lease, mailbox; SQLite embedded
