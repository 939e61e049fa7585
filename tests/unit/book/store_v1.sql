PRAGMA application_id = 1952608116;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, kind TEXT NOT NULL, book TEXT NOT NULL,
        epoch INTEGER NOT NULL, data TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
    ) STRICT;
INSERT INTO "audit" VALUES(1,1760000000000000000,'OrderApproved','paper',1760000000,'{"intent":{"book":"paper","client_order_id":"00000000000000000000000000000000","created_ns":1760000000000000000,"price":"100","purpose":"Entry","quantity_base":"0.1","reason":"fast above slow","side":"buy","stop_price":null,"symbol":"BTC/USDT","time_in_force":"GTC","type":"limit"}}','0000000000000000000000000000000000000000000000000000000000000000','e67b3e165cb4f0a671aba8450ead813f169cbbb78c8a99c18598e6e2a2d70fc4');
INSERT INTO "audit" VALUES(2,1760000000000000001,'OrderEvent','paper',1760000000,'{"event":{"at_ns":1760000000000000000,"client_order_id":"00000000000000000000000000000000","fill":null,"filled_base":"0","reason":"","state":"Sent","venue_order_id":""}}','e67b3e165cb4f0a671aba8450ead813f169cbbb78c8a99c18598e6e2a2d70fc4','0412b6748c6121c54e885012015ef7cdb342466ff170a94e7000b74fb7193ccc');
INSERT INTO "audit" VALUES(3,1760000000000000001,'OrderEvent','paper',1760000000,'{"event":{"at_ns":1760000000000000000,"client_order_id":"00000000000000000000000000000000","fill":null,"filled_base":"0","reason":"","state":"Open","venue_order_id":"70"}}','0412b6748c6121c54e885012015ef7cdb342466ff170a94e7000b74fb7193ccc','3292c196394e449d8fef75a9e9f178183c9102c3b7d779ee0abb19ea23d8bdb4');
INSERT INTO "audit" VALUES(4,1760000000000000001,'OrderEvent','paper',1760000000,'{"event":{"at_ns":1760000000000000000,"client_order_id":"00000000000000000000000000000000","fill":{"account":"paper","book":"paper","client_order_id":"00000000000000000000000000000000","event_time_ns":1760000000000000000,"fee_amount":"0.001","fee_asset":"BNB","is_maker":false,"price":"100","quantity_base":"0.04","side":"buy","symbol":"BTC/USDT","trade_id":"T-00000000000000000000000000000000-0","venue":"binance"},"filled_base":"0.04","reason":"","state":"PartiallyFilled","venue_order_id":"70"}}','3292c196394e449d8fef75a9e9f178183c9102c3b7d779ee0abb19ea23d8bdb4','7215187e716d62c2c666d9429f26357e754e4d946a3be9172d216c0b89384a7e');
INSERT INTO "audit" VALUES(5,1760000000000000001,'OrderEvent','paper',1760000000,'{"event":{"at_ns":1760000000000000000,"client_order_id":"00000000000000000000000000000000","fill":{"account":"paper","book":"paper","client_order_id":"00000000000000000000000000000000","event_time_ns":1760000000000000000,"fee_amount":"0.001","fee_asset":"BNB","is_maker":false,"price":"100","quantity_base":"0.06","side":"buy","symbol":"BTC/USDT","trade_id":"T-00000000000000000000000000000000-1","venue":"binance"},"filled_base":"0.1","reason":"","state":"Filled","venue_order_id":"70"}}','7215187e716d62c2c666d9429f26357e754e4d946a3be9172d216c0b89384a7e','53e1c76a7f50f91924d9d3986c0f513d89e4b3f4e70c59c452110a522a1f6bbb');
INSERT INTO "audit" VALUES(6,1760000000000000000,'OrderApproved','paper',1760000000,'{"intent":{"book":"paper","client_order_id":"00000000000000000000000000000001","created_ns":1760000000000000000,"price":"100","purpose":"Entry","quantity_base":"0.1","reason":"fast above slow","side":"buy","stop_price":null,"symbol":"BTC/USDT","time_in_force":"GTC","type":"limit"}}','53e1c76a7f50f91924d9d3986c0f513d89e4b3f4e70c59c452110a522a1f6bbb','ad0ea1cf4092787c106530eaad33ddc7b014e65d06487fe2367940bda9fa2615');
INSERT INTO "audit" VALUES(7,1760000000000000001,'OrderEvent','paper',1760000000,'{"event":{"at_ns":1760000000000000000,"client_order_id":"00000000000000000000000000000001","fill":null,"filled_base":"0","reason":"","state":"Sent","venue_order_id":""}}','ad0ea1cf4092787c106530eaad33ddc7b014e65d06487fe2367940bda9fa2615','89a46bacafe8456370f76a89eeb8287687bb313b0a732b3ad71a9979a5973e3e');
INSERT INTO "audit" VALUES(8,1760000000000000001,'OrderEvent','paper',1760000000,'{"event":{"at_ns":1760000000000000000,"client_order_id":"00000000000000000000000000000001","fill":null,"filled_base":"0","reason":"","state":"Open","venue_order_id":"71"}}','89a46bacafe8456370f76a89eeb8287687bb313b0a732b3ad71a9979a5973e3e','473712167fb6a86ccd08c5c8f2120977a7f662b65bb60d4b2c8920c7aa98db4d');
INSERT INTO "audit" VALUES(9,1760000000000000001,'OrderEvent','paper',1760000000,'{"event":{"at_ns":1760000000000000000,"client_order_id":"00000000000000000000000000000001","fill":{"account":"paper","book":"paper","client_order_id":"00000000000000000000000000000001","event_time_ns":1760000000000000000,"fee_amount":"0.001","fee_asset":"BNB","is_maker":false,"price":"100","quantity_base":"0.04","side":"buy","symbol":"BTC/USDT","trade_id":"T-00000000000000000000000000000001-0","venue":"binance"},"filled_base":"0.04","reason":"","state":"PartiallyFilled","venue_order_id":"71"}}','473712167fb6a86ccd08c5c8f2120977a7f662b65bb60d4b2c8920c7aa98db4d','516d8da2ed83272a6196c792965d0ecdbfc3704f87d4a0de24618a8cb86b2097');
INSERT INTO "audit" VALUES(10,1760000000000000002,'Latched','paper',1760000000,'{"id":"L1"}','516d8da2ed83272a6196c792965d0ecdbfc3704f87d4a0de24618a8cb86b2097','99b2a1f47af8e4e1fff25aa9d6b62e413650ff56252f7a15c4f3d2ed2c5a66f8');
CREATE TABLE configs (
        sequence INTEGER PRIMARY KEY, uid TEXT NOT NULL, generation INTEGER NOT NULL, digest TEXT NOT NULL,
        spec TEXT NOT NULL, accepted_ns INTEGER NOT NULL
    ) STRICT;
INSERT INTO "configs" VALUES(1,'u',3,'v1:x','{"mode":"Paper"}',1760000000000000002);
CREATE TABLE counters (
        book TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (book, name)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "counters" VALUES('paper','pnl.peak_quote','1.5');
CREATE TABLE fills (
        sequence INTEGER PRIMARY KEY,
        book TEXT NOT NULL, venue TEXT NOT NULL, account TEXT NOT NULL, symbol TEXT NOT NULL, trade_id TEXT NOT NULL,
        client_order_id TEXT NOT NULL, side TEXT NOT NULL, price TEXT NOT NULL, quantity_base TEXT NOT NULL,
        fee_asset TEXT NOT NULL, fee_amount TEXT NOT NULL, event_time_ns INTEGER NOT NULL, is_maker INTEGER NOT NULL,
        UNIQUE (book, venue, account, symbol, trade_id)
    ) STRICT;
INSERT INTO "fills" VALUES(1,'paper','binance','paper','BTC/USDT','T-00000000000000000000000000000000-0','00000000000000000000000000000000','buy','100','0.04','BNB','0.001',1760000000000000000,0);
INSERT INTO "fills" VALUES(2,'paper','binance','paper','BTC/USDT','T-00000000000000000000000000000000-1','00000000000000000000000000000000','buy','100','0.06','BNB','0.001',1760000000000000000,0);
INSERT INTO "fills" VALUES(3,'paper','binance','paper','BTC/USDT','T-00000000000000000000000000000001-0','00000000000000000000000000000001','buy','100','0.04','BNB','0.001',1760000000000000000,0);
CREATE TABLE latches (
        id TEXT PRIMARY KEY, book TEXT NOT NULL, is_active INTEGER NOT NULL, latch TEXT NOT NULL,
        created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL
    ) STRICT;
INSERT INTO "latches" VALUES('L1','paper',1,'{"state":"Stopped","id":"L1","action":null,"reason":"","source":"KillSwitch","engagedAt":null,"acknowledgedAt":null,"ordersCancelled":0,"orders":[],"positionsClosed":0,"dust":[],"flat":false}',1760000000000000002,1760000000000000002);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('account/paper','paper');
INSERT INTO "meta" VALUES('created_ns','1760000000000000000');
INSERT INTO "meta" VALUES('epoch','1760000000');
INSERT INTO "meta" VALUES('installation','i-1');
INSERT INTO "meta" VALUES('name','btc-trend');
INSERT INTO "meta" VALUES('namespace','desk-a');
INSERT INTO "meta" VALUES('network','Sandbox');
INSERT INTO "meta" VALUES('venue','binance');
CREATE TABLE order_events (
        book TEXT NOT NULL, client_order_id TEXT NOT NULL, sequence INTEGER NOT NULL,
        state TEXT NOT NULL, at_ns INTEGER NOT NULL, venue_order_id TEXT NOT NULL, filled_base TEXT NOT NULL,
        reason TEXT NOT NULL, fill_sequence INTEGER REFERENCES fills (sequence),
        PRIMARY KEY (book, client_order_id, sequence),
        FOREIGN KEY (book, client_order_id) REFERENCES orders (book, client_order_id)
    ) STRICT;
INSERT INTO "order_events" VALUES('paper','00000000000000000000000000000000',1,'Sent',1760000000000000000,'','0','',NULL);
INSERT INTO "order_events" VALUES('paper','00000000000000000000000000000000',2,'Open',1760000000000000000,'70','0','',NULL);
INSERT INTO "order_events" VALUES('paper','00000000000000000000000000000000',3,'PartiallyFilled',1760000000000000000,'70','0.04','',1);
INSERT INTO "order_events" VALUES('paper','00000000000000000000000000000000',4,'Filled',1760000000000000000,'70','0.1','',2);
INSERT INTO "order_events" VALUES('paper','00000000000000000000000000000001',1,'Sent',1760000000000000000,'','0','',NULL);
INSERT INTO "order_events" VALUES('paper','00000000000000000000000000000001',2,'Open',1760000000000000000,'71','0','',NULL);
INSERT INTO "order_events" VALUES('paper','00000000000000000000000000000001',3,'PartiallyFilled',1760000000000000000,'71','0.04','',3);
CREATE TABLE orders (
        book TEXT NOT NULL, client_order_id TEXT NOT NULL, epoch INTEGER NOT NULL,
        symbol TEXT NOT NULL, side TEXT NOT NULL, type TEXT NOT NULL, time_in_force TEXT NOT NULL,
        purpose TEXT NOT NULL, quantity_base TEXT NOT NULL, price TEXT NOT NULL, created_ns INTEGER NOT NULL,
        reason TEXT NOT NULL,
        state TEXT NOT NULL, filled_base TEXT NOT NULL, is_settled INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
        PRIMARY KEY (book, client_order_id)
    ) STRICT;
INSERT INTO "orders" VALUES('paper','00000000000000000000000000000000',1760000000,'BTC/USDT','buy','limit','GTC','Entry','0.1','100',1760000000000000000,'fast above slow','Filled','0.1',1,1760000000000000000);
INSERT INTO "orders" VALUES('paper','00000000000000000000000000000001',1760000000,'BTC/USDT','buy','limit','GTC','Entry','0.1','100',1760000000000000000,'fast above slow','PartiallyFilled','0.04',0,1760000000000000000);
CREATE TABLE permits (
        sequence INTEGER PRIMARY KEY, permit TEXT NOT NULL, accepted_ns INTEGER NOT NULL
    ) STRICT;
INSERT INTO "permits" VALUES(1,'{"uid":"u","mode":"Paper","stage":"micro","limit":"50.5","digest":"v1:x","specGeneration":3,"issuedAt":"t","reviewRef":null}',1760000000000000002);
CREATE INDEX orders_unsettled ON orders (book) WHERE is_settled = 0;
CREATE INDEX orders_created ON orders (book, created_ns);
CREATE INDEX audit_kind ON audit (kind, book);
COMMIT;
