//! Copies of whole tables, as text of PostgreSQL's COPY: out of one snapshot, and into empty tables.

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Transaction};

use super::schema::TABLE;
use super::{Db, DbError};

/// A table and its columns, in the order of their values in a copy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CopiedTable {
    pub name: String,
    pub columns: Vec<String>,
}

/// A sequence and the last number that it gave.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CopiedSequence {
    pub name: String,
    pub last: i64,
}

/// All tables as they are at one moment.
pub struct Snapshot(Transaction<'static, Postgres>);

/// All tables, emptied, in a transaction that fills them; dropped without [`Filling::finish`] it changes nothing.
pub struct Filling {
    tx: Transaction<'static, Postgres>,
    /// The statements that make the foreign keys again.
    keys: Vec<String>,
    tables: Vec<String>,
}

impl Db {
    /// A snapshot of all tables. It holds up no other transaction.
    pub async fn snapshot(&self) -> Result<Snapshot, DbError> {
        let mut tx = self.pool.begin().await?;
        run(&mut tx, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // Its reader writes to a disk that may be slow.
        run(&mut tx, "SET LOCAL idle_in_transaction_session_timeout = 0").await?;
        Ok(Snapshot(tx))
    }

    /// `None`: the table `empty` has rows, and nothing is changed.
    ///
    /// Empties all tables, without their foreign keys and triggers until the end, and of no use to others until then.
    pub async fn fill(&self, empty: &str) -> Result<Option<Filling>, DbError> {
        let mut tx = self.pool.begin().await?;
        run(&mut tx, "SET LOCAL idle_in_transaction_session_timeout = 0").await?;
        let tables = tables(&mut tx).await?.into_iter().map(|table| quoted(&table.name)).collect::<Vec<_>>();
        let foreign = sqlx::query!(
            r#"SELECT conrelid::regclass::text AS "table!", quote_ident(conname) AS "name!",
                      pg_get_constraintdef(oid) AS "definition!"
               FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace"#
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut keys = Vec::new();
        for key in foreign {
            run(&mut tx, format!("ALTER TABLE {} DROP CONSTRAINT {}", key.table, key.name)).await?;
            keys.push(format!("ALTER TABLE {} ADD CONSTRAINT {} {}", key.table, key.name, key.definition));
        }
        for table in &tables {
            run(&mut tx, format!("ALTER TABLE {table} DISABLE TRIGGER USER")).await?;
        }
        // Under the locks: another program may have filled them meanwhile.
        let rows = format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(empty));
        if sqlx::query_scalar::<_, bool>(AssertSqlSafe(rows)).fetch_one(&mut *tx).await? {
            return Ok(None);
        }
        run(&mut tx, format!("TRUNCATE {}", tables.join(", "))).await?;
        Ok(Some(Filling { tx, keys, tables }))
    }
}

impl Snapshot {
    pub async fn tables(&mut self) -> Result<Vec<CopiedTable>, DbError> {
        tables(&mut self.0).await
    }

    /// The transaction, for queries in the snapshot.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.0
    }

    /// The versions of the migrations that made the tables.
    pub async fn migrations(&mut self) -> Result<Vec<i64>, DbError> {
        let versions = sqlx::query_scalar::<_, i64>("SELECT version FROM _sqlx_migrations ORDER BY version");
        Ok(versions.fetch_all(&mut *self.0).await?)
    }

    /// The sequences. They are of no snapshot: taken after the tables, each is at least at its tables' highest number.
    pub async fn sequences(&mut self) -> Result<Vec<CopiedSequence>, DbError> {
        Ok(sqlx::query_as!(
            CopiedSequence,
            r#"SELECT sequencename::text AS "name!", last_value AS "last!" FROM pg_sequences
               WHERE schemaname = 'public' AND last_value IS NOT NULL ORDER BY 1"#
        )
        .fetch_all(&mut *self.0)
        .await?)
    }

    /// Gives all rows of a table to `write`, in pieces; returns how many rows there are.
    pub async fn copy<E: From<DbError>>(
        &mut self,
        table: &CopiedTable,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let statement = format!("COPY {} TO STDOUT", target(table));
        let mut rows = 0;
        let mut copy = self.0.copy_out_raw(&statement).await.map_err(DbError::from)?;
        while let Some(piece) = copy.try_next().await.map_err(DbError::from)? {
            rows += rows_in(&piece);
            write(&piece)?;
        }
        Ok(rows)
    }
}

impl Filling {
    /// Begins to fill a table with the text of a copy.
    pub async fn table(&mut self, table: &CopiedTable) -> Result<FillingTable<'_>, DbError> {
        if !self.tables.contains(&quoted(&table.name)) {
            return Err(DbError::Corrupt(format!("{} is no table of this program", table.name)));
        }
        let statement = format!("COPY {} FROM STDIN", target(table));
        Ok(FillingTable(self.tx.copy_in_raw(&statement).await?))
    }

    /// The transaction, for changes of what was filled in.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Sets the sequences, makes triggers and foreign keys again, and commits.
    pub async fn finish(mut self, sequences: &[CopiedSequence]) -> Result<(), DbError> {
        for sequence in sequences {
            sqlx::query_scalar!("SELECT setval(quote_ident($1)::regclass, $2)", sequence.name, sequence.last)
                .fetch_one(&mut *self.tx)
                .await?;
        }
        for table in &self.tables {
            run(&mut self.tx, format!("ALTER TABLE {table} ENABLE TRIGGER USER")).await?;
        }
        for key in self.keys {
            run(&mut self.tx, key).await?;
        }
        Ok(self.tx.commit().await?)
    }
}

/// A table that is being filled.
pub struct FillingTable<'a>(sqlx::postgres::PgCopyIn<&'a mut PgConnection>);

impl FillingTable<'_> {
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), DbError> {
        self.0.send(piece).await?;
        Ok(())
    }

    /// Ends the table; returns how many rows there were.
    pub async fn end(self) -> Result<u64, DbError> {
        Ok(self.0.finish().await?)
    }
}

/// The rows that end in a piece of a copy: a line feed within a value is written as \n.
#[must_use]
pub fn rows_in(piece: &[u8]) -> u64 {
    piece.split(|byte| *byte == b'\n').skip(1).count() as u64
}

async fn tables(connection: &mut PgConnection) -> Result<Vec<CopiedTable>, DbError> {
    Ok(sqlx::query_as!(
        CopiedTable,
        r#"SELECT c.relname::text AS "name!", array_agg(a.attname::text ORDER BY a.attnum) AS "columns!"
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> $1
             AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
           GROUP BY 1 ORDER BY 1"#,
        TABLE
    )
    .fetch_all(connection)
    .await?)
}

async fn run(connection: &mut PgConnection, statement: impl Into<String>) -> Result<(), DbError> {
    sqlx::raw_sql(AssertSqlSafe(statement.into())).execute(connection).await?;
    Ok(())
}

fn target(table: &CopiedTable) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    format!("{} ({})", quoted(&table.name), columns.join(", "))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
