CREATE TABLE guests (name VARCHAR(80) PRIMARY KEY);
INSERT INTO guests VALUES ('Ada'), ('Brontë & Sons');
