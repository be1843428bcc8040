//! Packages whose new version may rewrite data on disk in a form the old one cannot read.
//!
//! The old .deb would come back, the data would not: such an upgrade is one_way, whatever the archive still carries.
//! The table is short on purpose; each line says why it is there.

/// Beginning of a binary package's name, what must follow, and the reason.
const TABLE: [(&str, &str, &str); 15] = [
    ("postgresql-", "digit", "the server may change its catalogue and its log of writes"),
    ("postgresql-server", "any", "the server may change its catalogue and its log of writes"),
    ("openldap-servers", "end", "the directory's database may be dumped and loaded anew"),
    ("redis", "end", "the dump may be written in a newer form"),
    ("valkey", "end", "the dump may be written in a newer form"),
    ("mariadb-server", "any", "the server upgrades its system tables at its first start"),
    ("mysql-server", "any", "the server upgrades its data dictionary at its first start"),
    ("slapd", "end", "the directory's database may be dumped and loaded anew"),
    ("mongodb", "any", "the feature version of the data files may rise"),
    ("mongod", "any", "the feature version of the data files may rise"),
    ("redis-server", "end", "the dump may be written in a newer form"),
    ("valkey-server", "end", "the dump may be written in a newer form"),
    ("opensearch", "any", "indexes are upgraded when they are opened"),
    ("elasticsearch", "any", "indexes are upgraded when they are opened"),
    ("rabbitmq-server", "end", "the message store is upgraded when it is opened"),
];

/// Why an upgrade of this binary package cannot be taken back by putting the old one in its place, if so.
pub(crate) fn on_disk(package: &str) -> Option<&'static str> {
    TABLE.iter().find_map(|(start, then, why)| {
        let rest = package.strip_prefix(start)?;
        let fits = match *then {
            "digit" => {
                rest.starts_with(|c: char| c.is_ascii_digit()) && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            }
            "end" => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with(['-', '.']) || rest.starts_with(|c: char| c.is_ascii_digit()),
        };
        fits.then_some(*why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_one_way_and_their_clients_are_not() {
        for package in ["postgresql-15", "mariadb-server", "mariadb-server-10.11", "mysql-server-8.0", "slapd"] {
            assert!(on_disk(package).is_some(), "{package}");
        }
        for package in
            ["postgresql-client-15", "postgresql-15-pgvector", "mariadb-client", "slapd-contrib", "redis-tools"]
        {
            assert!(on_disk(package).is_none(), "{package}");
        }
    }
}
