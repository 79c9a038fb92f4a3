\set id random(1, 100000)
SELECT name FROM bystander WHERE id = :id;
INSERT INTO bystander_log (id) VALUES (:id);
